"""Pictures as tensors; how they are decoded is `protocol.pictures`, shared with the platform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.protocol import pictures


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A decoded picture, ready for a model."""

    #: RGB, (1, height, width, 3) uint8. Shrinking is part of the model's graph.
    pixels: NDArray[np.uint8]
    width: int
    height: int


def load(data: bytes) -> Photograph:
    """Decode `data`.

    Raises:
        pictures.Unreadable: it is not a picture we take.
    """
    image = pictures.read(data).image
    width, height = image.size
    return Photograph(pixels=np.asarray(image)[np.newaxis], width=width, height=height)
