"""Boxes, scores and classes as three tensors, already suppressed in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol.decoders import outputs
from workers.protocol.decoders.outputs import BadOutput, Found
from workers.protocol.manifest import Ssd
from workers.protocol.preparation import Frame

#: Class numbers are far below; a larger one is no class.
CLASS_MAX = 100_000


def decode(tensors: Sequence[Any], how: Ssd, *, frame: Frame, floor: float) -> Found:
    """Read the tensors named by the manifest: boxes, scores, classes.

    Raises:
        outputs.BadOutput.
    """
    boxes, scores, classes = _checked(tensors, how)
    wanted = scores >= np.float32(floor)
    real = boxes[wanted].astype(np.float64)
    if how.order == "yxyx":
        real = real[:, [1, 0, 3, 2]]
    if how.unit == "relative":
        real = real * np.array([frame.width, frame.height] * 2, dtype=np.float64)
    return Found(boxes=real, scores=scores[wanted], class_ids=_class_ids(classes[wanted], how))


def _checked(
    tensors: Sequence[Any], how: Ssd
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[Any]]:
    given = outputs.numbers(how.scores, tensors[1], ndim=(1, 2))
    scores = outputs.checked_scores(how.scores, outputs.unbatched(how.scores, given, ndim=1))
    boxes = outputs.numbers(how.boxes, tensors[0], ndim=(2, 3))
    boxes = outputs.unbatched(how.boxes, boxes, ndim=2)
    classes = outputs.numbers(how.classes, tensors[2], ndim=(1, 2))
    classes = outputs.unbatched(how.classes, classes, ndim=1)
    if boxes.shape != (len(scores), 4):
        raise BadOutput("output_shape", how.boxes, f"{boxes.shape} for {len(scores)} scores")
    if classes.shape != scores.shape:
        raise BadOutput("output_shape", how.classes, f"{classes.shape} for {len(scores)} scores")
    return boxes, scores, classes


def _class_ids(classes: NDArray[Any], how: Ssd) -> NDArray[np.int64]:
    rounded = np.rint(np.clip(classes.astype(np.float64), -1, CLASS_MAX))
    return rounded.astype(np.int64) + how.class_offset
