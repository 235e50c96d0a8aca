"""Boxes as (x, y, width, height) in pixels, and how far two of them are the same."""

from __future__ import annotations

import math

Box = tuple[float, float, float, float]


def iou(first: Box, second: Box) -> float:
    """Return intersection over union, 0..1; 0 when either has no area.

    Symmetric and exact for equal boxes.
    """
    area = _area(first)
    other_area = _area(second)
    if area <= 0 or other_area <= 0:
        return 0.0
    if first == second:
        return 1.0
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return min(1.0, common / (area + other_area - common))


def is_inside(box: Box, *, width: int, height: int, slack: float = 1.0) -> bool:
    """Say whether the box lies on a picture of that size, give or take `slack` pixels."""
    x, y, w, h = box
    return (
        all(math.isfinite(value) for value in box)
        and min(x, y) >= -slack
        and x + w <= width + slack
        and y + h <= height + slack
        and min(w, h) >= 0
    )


def _area(box: Box) -> float:
    return box[2] * box[3]
