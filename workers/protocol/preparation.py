"""A decoded picture as the tensor a model takes, the same bytes on every node.

Pre-processing is part of a result, so there is one way for each word of the manifest:
Pillow's 8-bit resampling (integer arithmetic), then float32 operations one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.protocol.manifest import PictureInput

FILTERS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
#: Batch of 1, and channels, rows and columns in the order of the layout.
Shape = tuple[int, int, int, int]
DTYPES: Final = {"uint8": np.uint8, "float32": np.float32, "float16": np.float16}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the model's pixels lie on the picture: picture = model * scale + offset."""

    #: Pixels of the model's picture.
    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def on_picture(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move corners (n, 4) left, top, right, bottom from the model's pixels."""
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float64)
        offset = np.array([self.offset_x, self.offset_y] * 2, dtype=np.float64)
        return boxes * scale + offset


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The tensor, with its batch of 1, and where its pixels come from."""

    tensor: NDArray[Any]
    frame: Frame


def prepare(image: Image.Image, wanted: PictureInput) -> Prepared:
    """Make an RGB picture fit; the picture itself is not changed."""
    fitted, frame = _fit(image, wanted)
    pixels = np.asarray(fitted)
    if wanted.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    values: NDArray[Any] = pixels
    if wanted.dtype != "uint8":
        values = _scaled(pixels, wanted).astype(DTYPES[wanted.dtype], copy=False)
    if wanted.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return Prepared(tensor=np.ascontiguousarray(values[np.newaxis]), frame=frame)


def shape(wanted: PictureInput, *, width: int, height: int) -> Shape:
    """Return the tensor's shape for a picture of this size, without making it."""
    if wanted.width is not None and wanted.height is not None:
        columns, rows = wanted.width, wanted.height
    else:
        columns, rows = (
            _filled(side, wanted) for side in _shrunk(width, height, side_max=wanted.side_max)
        )
    return (1, 3, rows, columns) if wanted.layout == "NCHW" else (1, rows, columns, 3)


def _scaled(pixels: NDArray[np.uint8], wanted: PictureInput) -> NDArray[np.float32]:
    values = pixels.astype(np.float32) * np.float32(wanted.scale)
    values -= np.array(wanted.mean, dtype=np.float32)
    values /= np.array(wanted.std, dtype=np.float32)
    return values


def _fit(image: Image.Image, wanted: PictureInput) -> tuple[Image.Image, Frame]:
    if wanted.width is None or wanted.height is None:
        return _as_it_is(image, wanted)
    size = (wanted.width, wanted.height)
    match wanted.resize:
        case "letterbox":
            return _letterboxed(image, wanted, size)
        case "crop":
            return _cropped(image, wanted, size)
        case _:
            return _window(image, wanted, size, (0.0, 0.0, float(image.width), float(image.height)))


def _as_it_is(image: Image.Image, wanted: PictureInput) -> tuple[Image.Image, Frame]:
    size = _shrunk(*image.size, side_max=wanted.side_max)
    fitted = image if size == image.size else image.resize(size, FILTERS[wanted.filter])
    filled = (_filled(size[0], wanted), _filled(size[1], wanted))
    if filled != size:
        ground = Image.new("RGB", filled, (wanted.fill,) * 3)
        ground.paste(fitted, (0, 0))
        fitted = ground
    return fitted, Frame(
        width=filled[0],
        height=filled[1],
        scale_x=image.width / size[0],
        scale_y=image.height / size[1],
    )


def _letterboxed(
    image: Image.Image, wanted: PictureInput, size: tuple[int, int]
) -> tuple[Image.Image, Frame]:
    part = min(size[0] / image.width, size[1] / image.height)
    inner = (max(1, round(image.width * part)), max(1, round(image.height * part)))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    ground = Image.new("RGB", size, (wanted.fill,) * 3)
    ground.paste(image.resize(inner, FILTERS[wanted.filter]), (left, top))
    scale_x, scale_y = image.width / inner[0], image.height / inner[1]
    return ground, Frame(
        width=size[0],
        height=size[1],
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=-left * scale_x,
        offset_y=-top * scale_y,
    )


def _cropped(
    image: Image.Image, wanted: PictureInput, size: tuple[int, int]
) -> tuple[Image.Image, Frame]:
    part = min(image.width / size[0], image.height / size[1]) * wanted.crop_fraction
    width, height = size[0] * part, size[1] * part
    left, top = (image.width - width) / 2, (image.height - height) / 2
    # Pillow refuses a window that reaches over the edge by a rounding error.
    right, bottom = min(left + width, image.width), min(top + height, image.height)
    return _window(image, wanted, size, (max(left, 0.0), max(top, 0.0), right, bottom))


def _window(
    image: Image.Image,
    wanted: PictureInput,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
) -> tuple[Image.Image, Frame]:
    """Bring the part `box` of the picture to `size`."""
    left, top, right, bottom = box
    return image.resize(size, FILTERS[wanted.filter], box=box), Frame(
        width=size[0],
        height=size[1],
        scale_x=(right - left) / size[0],
        scale_y=(bottom - top) / size[1],
        offset_x=left,
        offset_y=top,
    )


def _shrunk(width: int, height: int, *, side_max: int) -> tuple[int, int]:
    longer = max(width, height)
    if longer <= side_max:
        return width, height
    return max(1, round(width * side_max / longer)), max(1, round(height * side_max / longer))


def _filled(side: int, wanted: PictureInput) -> int:
    return -(-side // wanted.multiple_of) * wanted.multiple_of
