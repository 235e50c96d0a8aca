"""An altered picture is another one, and nothing in its file says so."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from tasks.verification import alteration
from workers.protocol import pictures

EXIF = Image.Exif()
EXIF[0x010F] = "Maker"
EXIF[pictures.ORIENTATION_TAG] = 6


def photo(*, size=(120, 80), mode="RGB", kind="JPEG", **options) -> bytes:
    """Return a picture with something on it."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([columns * 2, rows * 3, (columns + rows) % 200], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def alter(data: bytes, seed: int = 1):
    return alteration.alter(data, randomness=random.Random(seed))


@pytest.mark.parametrize(
    "data",
    [
        photo(),
        photo(quality=61, subsampling=0, progressive=True, dpi=(300, 300)),
        photo(mode="L"),
        photo(mode="CMYK"),
        photo(kind="PNG"),
        photo(kind="PNG", mode="RGBA"),
        photo(kind="PNG", mode="P"),
        photo(kind="WEBP"),
        photo(kind="JPEG", exif=EXIF),
    ],
    ids=["JPEG", "fine JPEG", "grey JPEG", "CMYK", "PNG", "alpha", "palette", "WebP", "turned"],
)
def test_format_and_size_as_seen_stay(data):
    altered, media_type, size = alter(data)

    before, after = pictures.read(data), pictures.read(altered)
    assert altered != data
    assert (after.media_type, after.image.size) == (before.media_type, before.image.size)
    assert (media_type, size) == (before.media_type, before.image.size)


def test_a_jpeg_keeps_tables_subsampling_and_what_its_camera_wrote():
    data = photo(quality=61, subsampling=0, progressive=True, dpi=(300, 300), exif=EXIF)

    altered, _, _ = alter(data)

    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(altered))
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before) == 0
    assert after.info["exif"] == before.info["exif"]
    assert after.info.keys() == before.info.keys()


def test_a_file_is_about_as_large_as_the_one_it_was_made_from():
    data = photo(size=(640, 480), quality=90)

    altered, _, _ = alter(data)

    assert len(altered) == pytest.approx(len(data), rel=0.3)


def test_no_two_alterations_are_the_same_bytes():
    data = photo()

    assert len({alter(data, seed)[0] for seed in range(20)}) == 20


def test_what_is_no_picture_is_refused():
    with pytest.raises(pictures.Unreadable):
        alter(b"no picture")
