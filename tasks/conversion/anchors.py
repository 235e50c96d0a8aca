"""The 1917 anchor boxes of SSD on a 300 x 300 picture.

Source: Liu et al., "SSD: Single Shot MultiBox Detector" (2016), section 2.2, with the
values of the ssd_mobilenet_v2_coco_2018_03_29 pipeline: scales 0.2 to 0.95 over six maps,
and on the first map three boxes only (`reduce_boxes_in_lowest_layer`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAP_SIDES: Final = (19, 10, 5, 3, 2, 1)
SCALE_MIN: Final = 0.2
SCALE_MAX: Final = 0.95
ASPECT_RATIOS: Final = (1.0, 2.0, 0.5, 3.0, 0.3333)
FIRST_MAP_SHAPES: Final = ((0.1, 1.0), (SCALE_MIN, 2.0), (SCALE_MIN, 0.5))


def boxes() -> NDArray[np.float32]:
    """Return the anchors, (1917, 4) float32: centre y, centre x, height, width in 0..1.

    Ordered as the detector's heads put them out: by map, row, column, shape.
    """
    return np.array(list(_boxes()), dtype=np.float32)


def shapes(level: int) -> tuple[tuple[float, float], ...]:
    """Return the (scale, aspect ratio) pairs at every cell of map `level`, 0..5.

    The last one of the upper maps is the square between this scale and the next.
    """
    if level == 0:
        return FIRST_MAP_SHAPES
    scale, following = _scale(level), _scale(level + 1)
    between = (math.sqrt(scale * following), 1.0)
    return (*((scale, ratio) for ratio in ASPECT_RATIOS), between)


def _scale(level: int) -> float:
    last = len(MAP_SIDES) - 1
    if level > last:
        return 1.0
    return SCALE_MIN + (SCALE_MAX - SCALE_MIN) * level / last


def _boxes() -> Iterator[tuple[float, float, float, float]]:
    for level, side in enumerate(MAP_SIDES):
        for row in range(side):
            for column in range(side):
                for scale, ratio in shapes(level):
                    height, width = scale / math.sqrt(ratio), scale * math.sqrt(ratio)
                    yield (row + 0.5) / side, (column + 0.5) / side, height, width
