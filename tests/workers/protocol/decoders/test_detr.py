"""DETR's queries, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workers.protocol.decoders import detr
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.manifest import Detr
from workers.protocol.preparation import Frame

FRAME = Frame(width=200, height=100)


def decode(logits, boxes, *, floor=0.25, **how):
    how = Detr(decoder="detr", logits="l", boxes="b", **how)
    tensors = [np.array(logits, dtype=np.float32), np.array(boxes, dtype=np.float32)]
    return detr.decode(tensors, how, frame=FRAME, floor=floor)


def test_the_last_class_of_a_softmax_is_nothing():
    logits = [[[math.log(6), math.log(3), 0.0], [0.0, 0.0, math.log(18)]]]
    boxes = [[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]]

    found = decode(logits, boxes)

    assert found.boxes.tolist() == [pytest.approx([80.0, 30.0, 120.0, 70.0], abs=1e-4)]
    assert found.scores.tolist() == pytest.approx([0.6])
    assert found.class_ids.tolist() == [0]


def test_a_sigmoid_has_no_class_for_nothing():
    found = decode([[0.0, math.log(4)]], [[0.5, 0.5, 1, 1]], activation="sigmoid")

    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.class_ids.tolist() == [1]


def test_large_logits_do_not_overflow():
    found = decode([[3e38, -3e38, 0.0]], [[0.5, 0.5, 1, 1]])

    assert found.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("logits", "boxes", "code", "tensor"),
    [
        ([[0.0, math.nan]], [[0.5, 0.5, 1, 1]], "output_not_finite", "l"),
        ([[0.0, 1]], [[0.5, 0.5, 1, math.inf]], "output_not_finite", "b"),
        ([[0.0, 1]], [[0.5, 0.5, 1]], "output_shape", "b"),
        ([[0.0, 1]], [[0.5, 0.5, 1, 1]] * 2, "output_shape", "b"),
        ([[0.0]], [[0.5, 0.5, 1, 1]], "output_shape", "l"),
        ([[[0.0, 1]]] * 2, [[0.5, 0.5, 1, 1]], "output_shape", "l"),
    ],
)
def test_hostile_outputs_are_refused(logits, boxes, code, tensor):
    with pytest.raises(BadOutput) as refused:
        decode(logits, boxes)

    assert (refused.value.code, refused.value.tensor) == (code, tensor)
