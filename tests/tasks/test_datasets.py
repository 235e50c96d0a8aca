"""Pictures coming in: each file judged alone."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from tasks import blobs, datasets
from tasks.models import Blob, Dataset, Image
from tests import factories
from tests.tasks import picture_files, zip_files
from workers.protocol import limits

GOOD = picture_files.plain()


@pytest.fixture
def dataset(client_user, now) -> Dataset:
    return datasets.create(owner_id=client_user.pk, name="photos", now=now)


@pytest.fixture
def add(dataset, now):
    """Add files given as name -> bytes, in order."""

    def run(*files: tuple[str, bytes]) -> datasets.Intake:
        uploads = [datasets.Upload(name=name, file=io.BytesIO(data)) for name, data in files]
        return datasets.add_files(dataset_id=dataset.pk, files=uploads, now=now)

    return run


@pytest.fixture
def refuses(add, settings):
    """Add a bad file between two good ones; answer its code when the good ones were taken."""

    def run(data: bytes, name: str = "bad.jpg") -> str:
        after = picture_files.plain(color=(1, 2, 3))
        intake = add(("before.png", GOOD), (name, data), ("after.png", after))

        assert [image.name for image in intake.added] == ["before.png", "after.png"]
        assert Image.objects.count() == 2
        assert set(Blob.objects.values_list("pk", flat=True)) == {
            hashlib.sha256(each).hexdigest() for each in (GOOD, after)
        }
        assert sum(path.is_file() for path in settings.MEDIA_ROOT.rglob("*")) == 2
        [rejection] = intake.rejected
        assert rejection.name == name
        assert rejection.detail
        return rejection.code

    return run


def test_a_new_data_set_is_empty(client_user, now):
    dataset = datasets.create(owner_id=client_user.pk, name=" Street\x00 cameras\n", now=now)

    assert (dataset.name, dataset.owner, dataset.created_at) == ("Street cameras", client_user, now)
    assert dataset.images.count() == 0


@pytest.mark.parametrize("name", ["", "  ", "\x00\x07", "\u202e", "x" * 201])
def test_a_data_set_needs_a_name(client_user, now, name):
    with pytest.raises(datasets.BadName) as refused:
        datasets.create(owner_id=client_user.pk, name=name, now=now)

    assert (refused.value.code, refused.value.field) == ("invalid_name", "name")
    assert Dataset.objects.count() == 0


def test_a_picture_is_added_with_its_size_and_digest(add, dataset, now):
    [image] = add(("photos/cat.png", GOOD)).added

    assert (image.name, image.width, image.height) == ("cat.png", 64, 48)
    assert (image.dataset, image.created_at) == (dataset, now)
    assert image.blob_id == hashlib.sha256(GOOD).hexdigest()
    assert image.blob.media_type == "image/png"
    assert blobs.read(image.blob_id) == GOOD


@pytest.mark.parametrize(
    ("kind", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")]
)
def test_jpeg_png_and_webp_are_taken(add, kind, media_type):
    [image] = add(("a", picture_files.plain(kind))).added

    assert (image.blob.media_type, image.width, image.height) == (media_type, 64, 48)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(picture_files.plain("JPEG", mode="CMYK", color=(0, 9, 99, 0)), id="CMYK"),
        pytest.param(picture_files.plain(mode="I;16", color=30_000), id="16-bit"),
        pytest.param(picture_files.plain(mode="L", color=9), id="grey"),
        pytest.param(picture_files.plain(mode="1", color=1), id="black and white"),
        pytest.param(picture_files.plain(mode="P", color=3), id="palette"),
        pytest.param(picture_files.plain(mode="RGBA", color=(9, 9, 9, 0)), id="transparent"),
        pytest.param(picture_files.plain("WEBP", mode="RGBA", color=(9, 9, 9, 0)), id="WebP alpha"),
        pytest.param(picture_files.animated("PNG"), id="animated PNG"),
        pytest.param(picture_files.animated("WEBP"), id="animated WebP"),
    ],
)
def test_unusual_pictures_are_taken_as_they_came(add, data):
    [image] = add(("a", data)).added

    assert (image.width, image.height) == (64, 48)
    assert blobs.read(image.blob_id) == data


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (64, 48)), (3, (64, 48)), (6, (48, 64)), (8, (48, 64))]
)
def test_the_size_is_as_seen_after_turning(add, orientation, size):
    [image] = add(("a.jpg", picture_files.turned(orientation=orientation))).added

    assert (image.width, image.height) == size


def test_content_decides_and_not_the_ending(add):
    [image] = add(("really-a-png.jpg", GOOD)).added

    assert (image.name, image.blob.media_type) == ("really-a-png.jpg", "image/png")


def test_a_picture_with_a_zip_behind_it_is_a_picture(add):
    both = picture_files.plain("JPEG") + zip_files.make({"inside.png": GOOD})
    assert zipfile.is_zipfile(io.BytesIO(both))

    intake = add(("both.jpg", both), ("both.zip", both + b"x"))

    assert [image.name for image in intake.added] == ["both.jpg", "both.zip"]
    assert [image.blob.media_type for image in intake.added] == ["image/jpeg"] * 2


def test_text_that_says_it_is_a_picture_is_refused(refuses):
    assert refuses(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "not_an_image"


def test_an_empty_file_is_refused(refuses):
    assert refuses(b"") == "not_an_image"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_kinds_of_pictures_are_refused(refuses, kind):
    assert refuses(picture_files.plain(kind)) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_short_is_refused(refuses, kind):
    data = picture_files.noise(kind, size=(256, 256))

    assert refuses(data[: len(data) // 2]) == "damaged"


def test_a_picture_of_one_pixel_is_refused(refuses):
    assert refuses(picture_files.plain(size=(1, 1))) == "too_small"


def test_a_picture_of_one_thin_line_is_refused(refuses):
    assert refuses(picture_files.plain(size=(4000, 7))) == "too_small"


@pytest.mark.parametrize(
    "size", [(10_000, 10_000), (20_000, 20_000), (8000, 5001), (2**31 - 1, 8), (65_501, 8)]
)
def test_a_picture_that_claims_too_many_pixels_is_refused(refuses, size):
    assert refuses(picture_files.png_claiming(*size)) == "too_many_pixels"


def test_a_real_picture_of_a_hundred_megapixels_is_refused(refuses):
    data = picture_files.encode(Pillow.new("1", (10_000, 10_000)))
    assert len(data) < 100_000

    assert refuses(data) == "too_many_pixels"


def test_a_file_of_too_many_bytes_is_refused(refuses):
    assert refuses(GOOD + bytes(limits.IMAGE_BYTES_MAX)) == "too_large"


def test_the_same_picture_twice_is_refused(add):
    first = add(("a.png", GOOD), ("b.png", GOOD))
    second = add(("c.png", GOOD))

    assert [image.name for image in first.added] == ["a.png"]
    assert second.added == []
    assert [(each.name, each.code) for each in first.rejected + second.rejected] == [
        ("b.png", "duplicate"),
        ("c.png", "duplicate"),
    ]
    assert "a.png" in second.rejected[0].detail
    assert (Image.objects.count(), Blob.objects.count()) == (1, 1)


def test_two_data_sets_may_hold_the_same_picture(add, client_user, now):
    add(("a.png", GOOD))
    other = factories.make_dataset(client_user, images=0)

    upload = datasets.Upload(name="b.png", file=io.BytesIO(GOOD))
    intake = datasets.add_files(dataset_id=other.pk, files=[upload], now=now)

    assert [image.name for image in intake.added] == ["b.png"]
    assert (Image.objects.count(), Blob.objects.count()) == (2, 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_picture_sent_twice_at_once_is_added_once(dataset, now, side_by_side):
    def send() -> datasets.Intake:
        upload = datasets.Upload(name="a.png", file=io.BytesIO(GOOD))
        return datasets.add_files(dataset_id=dataset.pk, files=[upload], now=now)

    intakes = side_by_side(send, send, send)

    assert sorted(len(intake.added) for intake in intakes) == [0, 0, 1]
    assert [each.code for intake in intakes for each in intake.rejected] == ["duplicate"] * 2
    assert Image.objects.count() == 1


def test_a_zip_and_pictures_come_together(add):
    packed = zip_files.make(
        {
            "set/one.png": picture_files.plain(color=(1, 1, 1)),
            "set/notes.txt": b"words",
            "set/../two.png": picture_files.plain(color=(2, 2, 2)),
            "set/again.png": GOOD,
            "__MACOSX/._one.png": b"x",
        }
    )

    intake = add(("first.png", GOOD), ("more.zip", packed), ("last.webp", b"RIFF"))

    assert [image.name for image in intake.added] == ["first.png", "one.png"]
    assert [(each.name, each.code) for each in intake.rejected] == [
        ("set/notes.txt", "not_an_image"),
        ("set/../two.png", "unsafe_path"),
        ("set/again.png", "duplicate"),
        ("last.webp", "not_an_image"),
    ]
    assert intake.rejected[1].detail == "In more.zip: The path leads out of the zip."
    assert (Image.objects.count(), Blob.objects.count()) == (2, 2)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (zip_files.make({"a.png": GOOD})[:-30], "bad_archive"),
        (zip_files.make({}), "empty_archive"),
        (b"PK\x03\x04", "bad_archive"),
    ],
)
def test_a_bad_zip_spoils_nothing(refuses, data, code):
    assert refuses(data, "bad.zip") == code


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("../../x.png", GOOD, "unsafe_path"),
        ("zeros.png", bytes(10**6), "suspicious_ratio"),
        ("zeros.png", bytes(21 * 1024**2), "too_large"),
        ("inner.zip", zip_files.make({"a.png": GOOD}), "nested_archive"),
        ("words.txt", b"words", "not_an_image"),
    ],
)
def test_a_bad_file_in_a_zip_leaves_no_trace(add, settings, name, content, code):
    intake = add(("bad.zip", zip_files.make({name: content})))

    assert intake.added == []
    assert [(each.name, each.code) for each in intake.rejected] == [(name, code)]
    assert (Image.objects.count(), Blob.objects.count()) == (0, 0)
    assert [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()] == []


def test_names_are_cleaned(add):
    long = "x" * 300 + ".png"
    packed = zip_files.make({f"{'folder/' * 40}a\nb.png": picture_files.plain(color=(5, 5, 5))})

    intake = add((f"C:\\temp\\{long}", GOOD), ("z.zip", packed))

    assert [image.name for image in intake.added] == ["x" * 251 + ".png", "ab.png"]


def test_no_files_are_no_mistake(add):
    intake = add()

    assert (intake.added, intake.rejected) == ([], [])


def test_a_file_that_was_read_before_is_rewound(dataset, now):
    for file in (io.BytesIO(GOOD), io.BytesIO(zip_files.make({"a.png": GOOD}))):
        file.read()
        upload = datasets.Upload(name="a", file=file)
        intake = datasets.add_files(dataset_id=dataset.pk, files=[upload], now=now)

        assert [each.code for each in intake.rejected] in ([], ["duplicate"])
    assert Image.objects.count() == 1


def test_a_full_data_set_takes_no_more(add, monkeypatch):
    monkeypatch.setattr(datasets, "IMAGES_MAX", 2)
    add(("a.png", GOOD))

    intake = add(
        ("b.png", picture_files.plain(color=(2, 2, 2))),
        ("c.png", picture_files.plain(color=(3, 3, 3))),
    )

    assert [image.name for image in intake.added] == ["b.png"]
    assert [(each.name, each.code) for each in intake.rejected] == [("c.png", "dataset_full")]
    assert (Image.objects.count(), Blob.objects.count()) == (2, 2)


def test_too_many_files_at_once_are_refused_unread(add, monkeypatch):
    monkeypatch.setattr(datasets, "FILES_MAX", 2)

    intake = add(
        ("a.png", GOOD), ("b.png", b"bad"), ("c.png", picture_files.plain(color=(3, 3, 3)))
    )

    assert [image.name for image in intake.added] == ["a.png"]
    assert [(each.name, each.code) for each in intake.rejected] == [
        ("b.png", "not_an_image"),
        ("c.png", "too_many_files"),
    ]
    assert (Image.objects.count(), Blob.objects.count()) == (1, 1)


def test_files_for_no_data_set_are_refused(db, now, settings):
    upload = datasets.Upload(name="a.png", file=io.BytesIO(GOOD))

    with pytest.raises(datasets.UnknownDataset):
        datasets.add_files(dataset_id="ds_nowhere", files=[upload], now=now)

    assert (Image.objects.count(), Blob.objects.count()) == (0, 0)
    assert [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()] == []


STARTS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 64, 48),
    b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    b"PK\x03\x04",
]


@hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)
@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_any_bytes_are_rejected_and_nothing_else(add, start, rest):
    [rejection] = add(("any", start + rest)).rejected

    assert rejection.code
    assert Blob.objects.count() == 0


SOUND = [
    picture_files.noise("JPEG"),
    picture_files.turned(),
    picture_files.noise("PNG"),
    picture_files.noise("WEBP"),
    picture_files.animated("PNG"),
    picture_files.animated("WEBP"),
    zip_files.make({"a.png": GOOD}),
]


@hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300
)
@given(st.sampled_from(SOUND), st.data())
def test_a_file_damaged_anywhere_is_added_or_rejected_and_nothing_else(add, sound, data):
    broken = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(broken) - 1))
        broken[position] = data.draw(st.integers(0, 255))
    del broken[data.draw(st.integers(1, len(broken))) :]

    # Pillow warns of odd pictures; only the tests make an error of a warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        intake = add(("broken", bytes(broken)))

    assert len(intake.added) + len(intake.rejected) == 1
