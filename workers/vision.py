"""From a model's tensors to an answer in pixels, the same way on every node."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol import limits, manifest, messages
from workers.protocol.decoders import classify, detr, ssd, yolo
from workers.protocol.decoders.outputs import Found
from workers.protocol.preparation import Frame

PIXEL_DECIMALS = 2
SCORE_DECIMALS = 6


def detections(
    tensors: Sequence[Any],
    output: manifest.Ssd | manifest.Yolo | manifest.Detr,
    *,
    frame: Frame,
    width: int,
    height: int,
    floor: float,
    class_ids: Collection[int],
) -> list[messages.Detection]:
    """Return detections with at least score `floor`, highest first, at most 100.

    Boxes are cut at the picture's edge; those without area and those of a class the model
    was not registered with are left out. Equal scores are ordered by class and place, so
    that the order does not depend on the model's.

    Raises:
        decoders.outputs.BadOutput: the tensors break the contract.
    """
    found = _decoded(tensors, output, frame=frame, floor=floor)
    pixels = _pixels(frame.on_picture(found.boxes), width=width, height=height)
    answer: list[messages.Detection] = [
        (int(kind), round(float(score), SCORE_DECIMALS), x, y, w, h)
        for kind, score, (x, y, w, h) in zip(found.class_ids, found.scores, pixels, strict=True)
        if int(kind) in class_ids and w > 0 and h > 0
    ]
    answer.sort(key=lambda each: (-each[1], each[0], each[2:]))
    return answer[: limits.DETECTIONS_MAX]


def classes(
    tensors: Sequence[Any], output: manifest.Classes, *, count: int
) -> list[messages.Classified]:
    """Return the likeliest of `count` classes, at most 5.

    Raises:
        decoders.outputs.BadOutput: the tensors break the contract.
    """
    probabilities = classify.decode(tensors, output, classes=count)
    return [
        (number, round(score, SCORE_DECIMALS))
        for number, score in classify.likeliest(probabilities, count=limits.CLASSES_MAX)
    ]


def _decoded(
    tensors: Sequence[Any],
    output: manifest.Ssd | manifest.Yolo | manifest.Detr,
    *,
    frame: Frame,
    floor: float,
) -> Found:
    match output:
        case manifest.Ssd():
            return ssd.decode(tensors, output, frame=frame, floor=floor)
        case manifest.Yolo():
            return yolo.decode(tensors, output, floor=floor)
        case manifest.Detr():
            return detr.decode(tensors, output, frame=frame, floor=floor)


def _pixels(boxes: NDArray[np.float64], *, width: int, height: int) -> list[list[float]]:
    """Return (x, y, w, h) rows, rounded at the corners so that no box leaves the picture."""
    size = np.array([width, height, width, height], dtype=np.float64)
    left, top, right, bottom = np.round(np.clip(boxes, 0, size), PIXEL_DECIMALS).T
    sizes = np.stack([left, top, right - left, bottom - top], axis=1)
    rounded: list[list[float]] = np.round(sizes, PIXEL_DECIMALS).tolist()
    return rounded
