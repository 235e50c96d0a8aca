"""Decode a picture the one way that node and platform share.

Pre-processing is part of a result (33, 35 or 36 detections for three ways to shrink the
same pictures), so both sides decode fully, turn by EXIF, put transparency on white and
take the first frame, through this module only.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from workers.protocol import limits

#: Pillow format name -> media type. Nothing else is opened, so no rare decoder is reachable.
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
#: What Pillow may call an opened one: cameras put several JPEGs into one file (MPO).
MEDIA_TYPES = FORMATS | {"MPO": "image/jpeg"}

#: EXIF orientation -> how to turn the picture upright; 1 is upright.
ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What Pillow's decoders raise on damaged bytes (found by trying 12,000 damaged files).
DAMAGE = (OSError, ValueError, SyntaxError, struct.error, EOFError, TypeError, KeyError, IndexError)


class Unreadable(Exception):
    """The bytes are not a picture we take; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded picture."""

    #: RGB, 8 bits, as seen.
    image: Image.Image
    media_type: str


def read(data: bytes) -> Picture:
    """Decode `data` under the limits of `limits`.

    Raises:
        Unreadable: with code not_an_image, unsupported_format, too_large, too_many_pixels,
            too_small or damaged.
    """
    if len(data) > limits.IMAGE_BYTES_MAX:
        raise Unreadable("too_large", f"A picture may have {limits.IMAGE_BYTES_MAX} bytes.")
    try:
        return _decode(data)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise _too_many_pixels() from exc


def _decode(data: bytes) -> Picture:
    try:
        opened = Image.open(io.BytesIO(data), formats=list(FORMATS))
    except UnidentifiedImageError as exc:
        raise Unreadable("not_an_image", "The file is not a JPEG, PNG or WebP picture.") from exc
    except DAMAGE as exc:
        raise Unreadable("damaged", "The picture is damaged.") from exc
    with opened:
        _check_size(opened.size)
        media_type = MEDIA_TYPES[opened.format or ""]
        try:
            opened.load()
            return Picture(image=_to_rgb(_upright(opened)), media_type=media_type)
        except DAMAGE as exc:
            raise Unreadable("damaged", "The picture ends early or is damaged.") from exc


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture by its EXIF orientation; damaged EXIF data says nothing.

    Pillow's own `exif_transpose` also rewrites the EXIF data and fails where that is odd.
    """
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION_TAG, 1))
    except DAMAGE:
        turn = None
    return image if turn is None else image.transpose(turn)


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > limits.IMAGE_PIXELS_MAX or max(size) > limits.IMAGE_SIDE_MAX:
        raise _too_many_pixels()
    if min(size) < limits.IMAGE_SIDE_MIN:
        raise Unreadable("too_small", f"Each side needs at least {limits.IMAGE_SIDE_MIN} pixels.")


def _too_many_pixels() -> Unreadable:
    return Unreadable("too_many_pixels", f"At most {limits.IMAGE_PIXELS_MAX} pixels.")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB; 16-bit grey is scaled, transparency is laid on white."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    # Pillow's `convert` would copy what is RGB already: a millisecond for a photograph.
    return image if image.mode == "RGB" else image.convert("RGB")
