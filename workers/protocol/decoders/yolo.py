"""YOLO's raw heads: one row a box, suppressed here.

Sources: the output layouts of YOLOv5 (with objectness) and YOLOv8 (without, transposed),
as their ONNX exports give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol.decoders import outputs, suppression
from workers.protocol.decoders.outputs import BadOutput, Found
from workers.protocol.manifest import Yolo


def decode(tensors: Sequence[Any], how: Yolo, *, floor: float) -> Found:
    """Read the rows, take each box's best class, suppress.

    Raises:
        outputs.BadOutput.
    """
    rows = _rows(tensors[0], how)
    scores = _scores(rows[:, 4:], how)
    best = scores.argmax(axis=1)
    best_scores = outputs.checked_scores(how.output, scores[np.arange(len(scores)), best])
    wanted = best_scores >= np.float32(floor)
    found = Found(
        boxes=outputs.corners(rows[wanted, :4].astype(np.float64)),
        scores=best_scores[wanted],
        class_ids=best[wanted].astype(np.int64),
    )
    return suppression.suppress(found, iou_max=how.iou_max)


def _rows(tensor: Any, how: Yolo) -> NDArray[Any]:
    given = outputs.numbers(how.output, tensor, ndim=(2, 3))
    rows = outputs.unbatched(how.output, given, ndim=2)
    rows = rows if how.rows else rows.T
    if rows.shape[1] < 5 + how.has_objectness:
        raise BadOutput("output_shape", how.output, f"rows of {rows.shape[1]} values")
    return rows


def _scores(values: NDArray[Any], how: Yolo) -> NDArray[Any]:
    if how.logits:
        values = outputs.sigmoid(values)
    if not how.has_objectness:
        return values
    # Each must be a score: the product of two that are none could look like one.
    outputs.checked_scores(how.output, values)
    scores: NDArray[Any] = values[:, :1] * values[:, 1:]
    return scores
