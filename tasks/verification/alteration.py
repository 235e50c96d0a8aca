"""Alter a picture so that it is another one, yet looks as if its own camera had made it. Pure.

A node may look at the file, not only at the picture: its format, size in pixels, JPEG
tables, subsampling, metadata. An altered picture keeps all of these; only the edges are cut
off, by a few per cent at random, so that no byte of it was ever seen before.
"""

from __future__ import annotations

import io
import random
from typing import Any, Final

from PIL import Image, JpegImagePlugin

from workers.protocol import pictures

#: Edges cut off, a share of each side: the picture is another one, its objects are not.
CUT_MIN, CUT_MAX = 0.02, 0.06
#: Qualities cameras and programs write WebP with; the file does not say which one it was.
QUALITIES: Final = (80, 85, 90, 95)
#: What a file says beside the picture, as Pillow names it when reading and writing.
_KEPT: Final[tuple[str, ...]] = ("exif", "icc_profile", "dpi")
#: Modes of a format that can be cut and resized as they are.
_MODES: Final = {
    "JPEG": {"RGB", "L"},
    "PNG": {"RGB", "RGBA", "L", "LA"},
    "WEBP": {"RGB", "RGBA"},
}


def alter(data: bytes, *, randomness: random.Random) -> tuple[bytes, str, tuple[int, int]]:
    """Cut the picture's edges, stretch it back to its size and write it in its own format.

    Returns its bytes, media type, and width and height in pixels, as seen.

    Raises:
        pictures.Unreadable: the picture cannot be read.
    """
    upright = pictures.read(data)  # under the limits, before anything else is done with it
    opened: Image.Image = Image.open(io.BytesIO(data), formats=list(pictures.FORMATS))
    name = "JPEG" if opened.format == "MPO" else str(opened.format)
    options = _options(opened, name, randomness)
    if opened.mode not in _MODES[name]:  # palettes, 16 bits, CMYK: as every node sees it
        opened, options = upright.image, {}
    file = io.BytesIO()
    _stretch(opened, randomness).save(file, name, **options)
    altered = pictures.read(file.getvalue())
    return file.getvalue(), altered.media_type, (altered.image.width, altered.image.height)


def _stretch(image: Image.Image, randomness: random.Random) -> Image.Image:
    """Cut each edge at random and resize the rest to the size it had."""
    left, top, right, bottom = (randomness.uniform(CUT_MIN, CUT_MAX) for _ in range(4))
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _options(opened: Image.Image, name: str, randomness: random.Random) -> dict[str, Any]:
    """Return how to write the file so that it looks like the one it was made from."""
    kept: dict[str, Any] = {key: opened.info[key] for key in _KEPT if key in opened.info}
    if isinstance(opened, JpegImagePlugin.JpegImageFile):
        return {
            **kept,
            "qtables": opened.quantization,
            "subsampling": JpegImagePlugin.get_sampling(opened),
            "progressive": "progressive" in opened.info,
        }
    if name == "WEBP":
        return {**kept, "quality": randomness.choice(QUALITIES)}
    return kept
