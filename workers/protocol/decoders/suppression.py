"""Greedy non-maximum suppression, one class at a time, with a bounded amount of work."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.protocol.decoders.outputs import Found

#: Candidates looked at, best first; the rest of a flood is dropped.
CANDIDATES_MAX: Final = 3000
#: Boxes kept of one class.
KEPT_MAX: Final = 100


def suppress(found: Found, *, iou_max: float) -> Found:
    """Keep the best box of each cluster of a class; ties by class, then place."""
    order = np.lexsort((found.class_ids, -found.scores))[:CANDIDATES_MAX]
    boxes, classes = found.boxes[order], found.class_ids[order]
    kept: list[int] = []
    for class_id in np.unique(classes):
        kept += _of_one_class(boxes, np.flatnonzero(classes == class_id), iou_max)
    chosen = order[np.sort(np.array(kept, dtype=np.int64))]
    return Found(
        boxes=found.boxes[chosen], scores=found.scores[chosen], class_ids=found.class_ids[chosen]
    )


def _of_one_class(
    boxes: NDArray[np.float64], waiting: NDArray[np.int64], iou_max: float
) -> list[int]:
    kept: list[int] = []
    while len(waiting) and len(kept) < KEPT_MAX:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[_ious(boxes[best], boxes[waiting]) <= iou_max]
    return kept


def _ious(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    area = np.clip(box[2:] - box[:2], 0, None).prod()
    covered = area + areas - common
    shared: NDArray[np.float64] = np.divide(
        common, covered, out=np.zeros_like(common), where=covered > 0
    )
    return shared
