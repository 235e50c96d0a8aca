"""DETR's queries: each says one class, or nothing. No suppression is needed.

Source: Carion et al. (2020), "End-to-end object detection with transformers", and the
`sigmoid` form of its deformable successors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.protocol.decoders import outputs
from workers.protocol.decoders.outputs import BadOutput, Found
from workers.protocol.manifest import Detr
from workers.protocol.preparation import Frame


def decode(tensors: Sequence[Any], how: Detr, *, frame: Frame, floor: float) -> Found:
    """Read logits and boxes of all queries.

    Raises:
        outputs.BadOutput.
    """
    given = outputs.numbers(how.logits, tensors[0], ndim=(2, 3))
    logits = outputs.unbatched(how.logits, given, ndim=2)
    given = outputs.numbers(how.boxes, tensors[1], ndim=(2, 3))
    boxes = outputs.unbatched(how.boxes, given, ndim=2)
    if boxes.shape != (len(logits), 4):
        raise BadOutput("output_shape", how.boxes, f"{boxes.shape} for {len(logits)} queries")
    is_softmax = how.activation == "softmax"
    if logits.shape[1] < 1 + is_softmax:
        raise BadOutput("output_shape", how.logits, f"shape {logits.shape}")
    scores = outputs.softmax(logits)[:, :-1] if is_softmax else outputs.sigmoid(logits)
    best = scores.argmax(axis=1)
    best_scores = scores[np.arange(len(scores)), best].astype(np.float32)
    wanted = best_scores >= np.float32(floor)
    size = np.array([frame.width, frame.height] * 2, dtype=np.float64)
    return Found(
        boxes=outputs.corners(boxes[wanted].astype(np.float64)) * size,
        scores=best_scores[wanted],
        class_ids=best[wanted].astype(np.int64),
    )
