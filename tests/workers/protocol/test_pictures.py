"""Pictures that lie, break or are merely unusual."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workers.protocol import limits, pictures

# Pillow warns about odd metadata; what counts is the picture.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

#: 40 x 20: left half red, right half blue.
TWO = Image.new("RGB", (40, 20), (255, 0, 0))
TWO.paste((0, 0, 255), (20, 0, 40, 20))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[pictures.ORIENTATION_TAG] = orientation
    return exif


def colour(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = pictures.read(data).image
    assert image.mode == "RGB"
    return image.getpixel(at)


def make_png(width: int, height: int, *, bits: int = 8, kind: int = 2, data: bytes = b"") -> bytes:
    """Write a PNG by hand: its header may promise anything."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


SEEDS = [
    encode(TWO, "JPEG", exif=turned(6)),
    encode(TWO, "PNG", exif=turned(3)),
    encode(TWO, "WEBP", lossless=True),
    encode(TWO.convert("CMYK"), "JPEG"),
    encode(TWO.convert("P"), "PNG", transparency=0),
    encode(TWO, "MPO", save_all=True, append_images=[TWO]),
]


def assert_refused(data: bytes, code: str) -> None:
    with pytest.raises(pictures.Unreadable) as caught:
        pictures.read(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")],
)
def test_the_three_formats_are_read(kind, media_type):
    picture = pictures.read(encode(TWO, kind))

    assert (picture.image.mode, picture.image.size) == ("RGB", (40, 20))
    assert picture.media_type == media_type


def test_a_lossless_picture_keeps_every_value():
    noise = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)

    assert np.array_equal(np.asarray(pictures.read(encode(Image.fromarray(noise))).image), noise)


def test_a_file_of_several_jpegs_is_its_first():
    other = Image.new("RGB", (40, 20), (0, 255, 0))
    data = encode(TWO, "MPO", save_all=True, append_images=[other])

    assert pictures.read(data).media_type == "image/jpeg"
    assert colour(data)[0] > 200


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (40, 20), (5, 10)),
        (2, (40, 20), (35, 10)),
        (3, (40, 20), (35, 10)),
        (4, (40, 20), (5, 10)),
        (5, (20, 40), (10, 5)),
        (6, (20, 40), (10, 5)),
        (7, (20, 40), (10, 35)),
        (8, (20, 40), (10, 35)),
        (9, (40, 20), (5, 10)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright(orientation, size, red_at, kind):
    data = encode(TWO, kind, exif=turned(orientation))

    assert pictures.read(data).image.size == size
    red, _, blue = colour(data, red_at)
    assert red > 200 > 60 > blue


def test_damaged_exif_data_does_not_spoil_a_picture():
    data = encode(TWO, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")

    assert pictures.read(data).image.size == (40, 20)


def test_sixteen_bit_grey_is_scaled():
    grey = Image.fromarray(np.full((20, 20), 0x8000, dtype=np.uint16))

    assert colour(encode(grey)) == (128, 128, 128)


def test_print_colours_are_converted():
    red, _, blue = colour(encode(TWO.convert("CMYK"), "JPEG"), (5, 10))

    assert red > 200 > 60 > blue


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_lies_on_white(kind):
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))

    assert colour(encode(clear, kind, **({"lossless": True} if kind == "WEBP" else {}))) == (
        255,
        255,
        255,
    )


def test_half_transparency_is_mixed_with_white():
    half = Image.new("RGBA", (20, 20), (255, 0, 0, 128))

    assert colour(encode(half)) == (255, 127, 127)


@pytest.mark.parametrize(
    ("image", "transparency"),
    [
        (Image.new("P", (20, 20), 0), 0),
        (Image.new("L", (20, 20), 7), 7),
        (Image.new("RGB", (20, 20), (1, 2, 3)), (1, 2, 3)),
    ],
)
def test_a_transparent_colour_lies_on_white(image, transparency):
    assert colour(encode(image, transparency=transparency)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    blue = Image.new("RGB", (40, 20), (0, 0, 255))
    data = encode(TWO, kind, save_all=True, append_images=[blue], duration=50)

    assert colour(data, (5, 10))[0] > 200


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA"])
def test_other_formats_are_refused(kind):
    assert_refused(encode(TWO, kind), "not_an_image")


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", bytes(1000)],
)
def test_what_is_no_picture_is_refused(data):
    assert_refused(data, "not_an_image")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_ends_early_is_refused(kind):
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    whole = encode(Image.fromarray(noise), kind)

    assert_refused(whole[: len(whole) // 2], "damaged")


def test_an_archive_behind_a_picture_is_only_a_picture():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("evil.txt", "x")

    picture = pictures.read(encode(TWO, "JPEG") + archive.getvalue())

    assert (picture.media_type, picture.image.size) == ("image/jpeg", (40, 20))


def test_a_picture_behind_an_archive_is_refused():
    assert_refused(b"PK\x03\x04" + encode(TWO, "JPEG"), "not_an_image")


@pytest.mark.parametrize(
    ("width", "height"), [(10_000, 10_000), (20_000, 20_000), (65_501, 100), (40_001, 1000)]
)
def test_a_header_that_promises_too_many_pixels_is_refused_undecoded(width, height):
    assert_refused(make_png(width, height), "too_many_pixels")


def test_few_bytes_of_many_pixels_within_the_limit_are_only_damaged():
    assert_refused(make_png(6000, 6000, data=bytes(1000)), "damaged")


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small_a_picture_is_refused(size):
    assert_refused(encode(Image.new("RGB", size)), "too_small")


def test_too_many_bytes_are_refused_unread():
    assert_refused(encode(TWO) + bytes(limits.IMAGE_BYTES_MAX), "too_large")


def test_a_text_bomb_in_a_picture_is_refused():
    bomb = zlib.compress(bytes(64 * limits.MIB))
    content = b"Comment\x00\x00" + bomb
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + content))
    plain = encode(TWO)
    end_of_header = 8 + 25

    assert_refused(plain[:end_of_header] + chunk + plain[end_of_header:], "damaged")


@given(seed=st.sampled_from(SEEDS), data=st.data())
@settings(max_examples=300)
def test_damage_anywhere_gives_a_picture_or_a_refusal(seed, data):
    damaged = bytearray(seed)
    places = st.integers(0, len(seed) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        damaged[place] = value
    end = data.draw(st.one_of(st.just(len(seed)), places))

    try:
        image = pictures.read(bytes(damaged[:end])).image
    except pictures.Unreadable:
        return
    assert image.mode == "RGB"
    assert min(image.size) >= limits.IMAGE_SIDE_MIN
