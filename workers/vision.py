"""From a detector's numbers to detections in pixels, the same way on every node."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol import limits, messages

#: Rounding error a model may show outside of 0..1.
SCORE_SLACK = 1e-3
PIXEL_DECIMALS = 2
SCORE_DECIMALS = 6


class BadOutput(Exception):
    """The model's outputs break its contract."""


def detections(
    outputs: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    *,
    width: int,
    height: int,
    floor: float,
    class_ids: Collection[int],
) -> list[messages.Detection]:
    """Return detections with at least score `floor`, highest first, at most 100.

    `outputs` are boxes (n, 4) as ymin, xmin, ymax, xmax in 0..1, scores (n,) and classes
    (n,). Boxes are cut at the picture's edge; those without area and those of a class the
    model was not registered with are left out. Equal scores are ordered by class and
    place, so that the order does not depend on the model's.

    Raises:
        BadOutput: other shapes, or a number that is none or no score.
    """
    boxes, scores, classes = _checked(*outputs)
    wanted = scores >= np.float32(floor)
    found: list[messages.Detection] = [
        (int(kind), round(min(max(float(score), 0.0), 1.0), SCORE_DECIMALS), x, y, w, h)
        for kind, score, (x, y, w, h) in zip(
            classes[wanted],
            scores[wanted],
            _pixels(boxes[wanted], width=width, height=height),
            strict=True,
        )
        if int(kind) in class_ids and w > 0 and h > 0
    ]
    found.sort(key=lambda detection: (-detection[1], detection[0], detection[2:]))
    return found[: limits.DETECTIONS_MAX]


def _checked(
    boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    count = len(scores) if scores.ndim == 1 else -1
    if boxes.shape != (count, 4) or classes.shape != (count,):
        raise BadOutput("The outputs are not boxes (n, 4), scores (n,) and classes (n,).")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise BadOutput("An output is not a finite number.")
    if count and not (scores.min() >= -SCORE_SLACK and scores.max() <= 1 + SCORE_SLACK):
        raise BadOutput("A score lies outside of 0..1.")
    return (
        boxes.astype(np.float64),
        scores.astype(np.float32),
        classes.astype(np.int64),
    )


def _pixels(boxes: NDArray[np.float64], *, width: int, height: int) -> list[list[float]]:
    """Return (x, y, w, h) rows, rounded at the corners so that no box leaves the picture."""
    scale = np.array([height, width, height, width], dtype=np.float64)
    top, left, bottom, right = np.round(np.clip(boxes, 0, 1) * scale, PIXEL_DECIMALS).T
    sizes = np.stack([left, top, right - left, bottom - top], axis=1)
    rounded: list[list[float]] = np.round(sizes, PIXEL_DECIMALS).tolist()
    return rounded
