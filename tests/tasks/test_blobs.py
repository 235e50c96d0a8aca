"""Bytes by digest: stored, linked, made small."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tasks import blobs
from tasks.models import Blob
from tests.tasks import picture_files
from workers.protocol import pictures

DATA = b"some bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()
PLACE = f"{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST}"


class ObjectStore(Storage):
    """Like S3: names and bytes, nothing on this machine's disk."""

    def __init__(self):
        self.files = {}

    def _open(self, name, mode="rb"):
        if name not in self.files:
            raise FileNotFoundError(name)
        return ContentFile(self.files[name])

    def _save(self, name, content):
        self.files[name] = content.read()
        return name

    def exists(self, name):
        return name in self.files

    def size(self, name):
        return len(self._open(name).read())

    def delete(self, name):
        del self.files[name]


@pytest.fixture
def object_store(settings):
    """The default storage is an object store; answer its files."""
    store = {"BACKEND": f"{__name__}.ObjectStore"}
    settings.STORAGES = {**settings.STORAGES, "default": store}
    return default_storage.files


@pytest.fixture
def root(settings) -> Path:
    return Path(settings.MEDIA_ROOT)


@pytest.fixture
def link(now):
    """The parameters of a good link to DIGEST."""
    url = blobs.sign_url(digest=DIGEST, audience="node_1", expires_at=now + timedelta(minutes=5))
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def stored(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_bytes_are_stored_under_their_digest(db, root):
    blob = blobs.put(DATA, media_type="text/plain")

    assert (blob.pk, blob.size_bytes, blob.media_type) == (DIGEST, 10, "text/plain")
    assert stored(root) == [PLACE]
    assert blobs.exists(DIGEST)
    assert blobs.read(DIGEST) == DATA
    with blobs.open_stream(DIGEST) as file:
        assert file.read() == DATA


def test_the_same_bytes_again_are_the_same_blob(db, root):
    first = blobs.put(DATA, media_type="text/plain")
    written_at = (root / PLACE).stat().st_mtime_ns

    again = blobs.put(DATA, media_type="image/png")

    assert again == first
    assert again.media_type == "text/plain"
    assert Blob.objects.count() == 1
    assert (root / PLACE).stat().st_mtime_ns == written_at


def test_a_file_cut_short_is_written_again(db, root):
    blobs.put(DATA, media_type="text/plain")
    (root / PLACE).write_bytes(DATA[:4])

    blobs.put(DATA, media_type="text/plain")

    assert blobs.read(DIGEST) == DATA
    assert stored(root) == [PLACE]


def test_nothing_is_no_blob(db, root):
    with pytest.raises(ValueError, match="not empty"):
        blobs.put(b"", media_type="text/plain")

    assert Blob.objects.count() == 0
    assert stored(root) == []


def test_when_the_file_cannot_be_written_there_is_no_row_and_no_rest(db, root, monkeypatch):
    def full(_self, _target):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(OSError, match="no space left"):
        blobs.put(DATA, media_type="text/plain")

    assert Blob.objects.count() == 0
    assert stored(root) == []


@pytest.mark.django_db(transaction=True)
def test_many_writers_of_the_same_bytes_do_each_other_no_harm(root, side_by_side):
    outcomes = side_by_side(*[lambda: blobs.put(DATA, media_type="text/plain").pk] * 6)

    assert outcomes == [DIGEST] * 6
    assert Blob.objects.count() == 1
    assert stored(root) == [PLACE]


def test_an_object_store_keeps_one_copy(db, object_store, root):
    blobs.put(DATA, media_type="text/plain")
    blobs.put(DATA, media_type="text/plain")

    assert blobs.read(DIGEST) == DATA
    assert object_store == {PLACE: DATA}
    assert stored(root) == []


def test_a_spare_copy_in_an_object_store_is_deleted(db, object_store, monkeypatch):
    object_store[PLACE] = DATA
    # The other writer comes between our look and our save.
    monkeypatch.setattr(ObjectStore, "size", lambda _self, _name: 0)

    blobs.put(DATA, media_type="text/plain")

    assert object_store == {PLACE: DATA}


@pytest.mark.parametrize(
    "text", ["", "../../secret_key", DIGEST[:-1], DIGEST.upper(), DIGEST + "0"]
)
def test_what_is_no_digest_has_no_place(text):
    with pytest.raises(ValueError, match="not a digest"):
        blobs.location(text)


def test_bytes_that_are_not_there_are_said_to_be_missing():
    assert not blobs.exists(DIGEST)
    with pytest.raises(FileNotFoundError):
        blobs.read(DIGEST)
    with pytest.raises(FileNotFoundError):
        blobs.open_stream(DIGEST)


def test_a_link_is_absolute_and_names_digest_audience_and_end(settings, now):
    settings.PUBLIC_URL = "https://folk.example"

    url = blobs.sign_url(digest=DIGEST, audience="node_1", expires_at=now)

    assert url.startswith(f"https://folk.example/blobs/{DIGEST}?audience=node_1&expires=")
    query = parse_qs(urlsplit(url).query)
    assert query.keys() == {"audience", "expires", "signature"}
    assert query["expires"] == [str(int(now.timestamp()))]


def test_a_link_is_good_until_its_time_is_over(link, now):
    blobs.check_url(DIGEST, link, now=now)
    blobs.check_url(DIGEST, link, now=now + timedelta(minutes=4, seconds=59))

    with pytest.raises(blobs.UrlExpired) as expired:
        blobs.check_url(DIGEST, link, now=now + timedelta(minutes=5))
    assert (expired.value.code, expired.value.status) == ("url_expired", 410)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audience", "node_2"),
        ("audience", ""),
        ("audience", "half\ud800"),
        ("expires", "9999999999"),
        ("expires", "soon"),
        ("expires", ""),
        ("signature", ""),
        ("signature", "x" * 43),
        ("signature", "ü"),
        ("signature", "half\ud800"),
        ("signature", "a:b"),
    ],
)
def test_a_changed_link_is_refused(link, now, name, value):
    with pytest.raises(blobs.UrlAltered) as altered:
        blobs.check_url(DIGEST, {**link, name: value}, now=now)
    assert (altered.value.code, altered.value.status) == ("url_altered", 403)


@pytest.mark.parametrize("name", ["audience", "expires", "signature"])
def test_a_link_with_a_part_missing_is_refused(link, now, name):
    del link[name]

    with pytest.raises(blobs.UrlAltered):
        blobs.check_url(DIGEST, link, now=now)


def test_a_link_opens_no_other_digest(link, now):
    for other in (DIGEST[::-1], DIGEST.upper(), ""):
        with pytest.raises(blobs.UrlAltered):
            blobs.check_url(other, link, now=now)


def test_a_link_outlives_a_change_of_key_only_while_the_old_one_is_listed(link, now, settings):
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    settings.SECRET_KEY_FALLBACKS = [old]
    blobs.check_url(DIGEST, link, now=now)

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(blobs.UrlAltered):
        blobs.check_url(DIGEST, link, now=now)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_no_made_up_link_is_good(audience, expires, signature):
    params = {"audience": audience, "expires": expires, "signature": signature}

    with pytest.raises(blobs.UrlAltered):
        blobs.check_url(DIGEST, params, now=None)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("side", "size"), [(240, (240, 120)), (960, (960, 480)), (1600, (1000, 500))]
)
def test_a_thumbnail_is_webp_of_at_most_its_side(db, side, size):
    blob = blobs.put(picture_files.plain(size=(1000, 500)), media_type="image/png")

    made = opened(blobs.thumbnail(blob.digest, side=side))

    assert (made.format, made.size) == ("WEBP", size)


def test_a_thumbnail_is_turned_upright(db):
    blob = blobs.put(picture_files.turned(size=(640, 320)), media_type="image/jpeg")

    assert opened(blobs.thumbnail(blob.digest, side=160)).size == (80, 160)


def test_a_picture_of_one_extreme_side_has_a_thumbnail(db):
    blob = blobs.put(picture_files.plain(size=(9000, 8)), media_type="image/png")

    assert opened(blobs.thumbnail(blob.digest, side=240)).size == (240, 1)


def test_a_thumbnail_is_made_once_and_kept_beside_the_blob(db, root):
    blob = blobs.put(picture_files.plain(), media_type="image/png")
    place = blobs.location(blob.digest)

    first = blobs.thumbnail(blob.digest, side=240)
    (root / place).unlink()

    assert blobs.thumbnail(blob.digest, side=240) == first
    assert stored(root) == [f"{place}.240.webp"]


def test_thumbnails_of_other_sides_are_not_made(db, root):
    blob = blobs.put(picture_files.plain(), media_type="image/png")

    with pytest.raises(ValueError, match="241"):
        blobs.thumbnail(blob.digest, side=241)

    assert stored(root) == [blobs.location(blob.digest)]


def test_what_is_no_picture_has_no_thumbnail(db, root):
    blob = blobs.put(DATA, media_type="text/plain")

    with pytest.raises(pictures.Unreadable):
        blobs.thumbnail(blob.digest, side=240)

    assert stored(root) == [PLACE]
