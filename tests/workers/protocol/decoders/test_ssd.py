"""Boxes, scores and classes as three tensors."""

from __future__ import annotations

import numpy as np
import pytest

from workers.protocol.decoders import ssd
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.manifest import Ssd
from workers.protocol.preparation import Frame

FRAME = Frame(width=200, height=100)


def decode(boxes, scores, classes, *, floor=0.25, **how):
    return ssd.decode([np.array(boxes), np.array(scores), np.array(classes)],
                      Ssd(**how), frame=FRAME, floor=floor)  # fmt: skip


def test_relative_corners_top_first_become_pixels_left_first():
    found = decode([[0.1, 0.2, 0.5, 0.6]], [0.9], [3])

    assert found.boxes.tolist() == [[40.0, 10.0, 120.0, 50.0]]
    assert (found.scores.tolist(), found.class_ids.tolist()) == ([np.float32(0.9)], [3])


def test_pixels_left_first_stay_as_they_are():
    found = decode([[5.0, 6, 7, 8]], [0.9], [3], order="xyxy", unit="pixels")

    assert found.boxes.tolist() == [[5.0, 6.0, 7.0, 8.0]]


def test_a_batch_of_one_real_classes_and_an_offset_are_taken():
    found = decode([[[0.0, 0, 1, 1]]], [[0.9]], [[2.0]], class_offset=1)

    assert found.class_ids.tolist() == [3]


def test_scores_below_the_floor_are_left_out():
    found = decode([[0.0, 0, 1, 1]] * 2, [0.2, 0.3], [1, 2])

    assert found.class_ids.tolist() == [2]


@pytest.mark.parametrize(
    ("boxes", "scores", "classes", "code", "tensor"),
    [
        ([[0.0, 0, 1, np.nan]], [0.5], [1], "output_not_finite", "boxes"),
        ([[0.0, 0, 1, 1]], [np.inf], [1], "output_not_finite", "scores"),
        ([[0.0, 0, 1, 1]], [0.5], [np.nan], "output_not_finite", "classes"),
        ([[0.0, 0, 1, 1]], [1.1], [1], "output_out_of_range", "scores"),
        ([[0.0, 0, 1, 1]], [-0.1], [1], "output_out_of_range", "scores"),
        ([[0.0, 0, 1]], [0.5], [1], "output_shape", "boxes"),
        ([[0.0, 0, 1, 1]], [0.5, 0.5], [1], "output_shape", "boxes"),
        ([[0.0, 0, 1, 1]], [0.5], [1, 2], "output_shape", "classes"),
        ([[[0.0, 0, 1, 1]]] * 2, [0.5], [1], "output_shape", "boxes"),
        ([[0.0, 0, 1, 1]], 0.5, [1], "output_shape", "scores"),
        ([["a", "b", "c", "d"]], [0.5], [1], "output_type", "boxes"),
    ],
)
def test_hostile_outputs_are_refused(boxes, scores, classes, code, tensor):
    with pytest.raises(BadOutput) as refused:
        decode(boxes, scores, classes)

    assert (refused.value.code, refused.value.tensor) == (code, tensor)


def test_a_flood_of_scores_is_refused_unread():
    flood = np.broadcast_to(np.float32(0.5), 2**25)

    with pytest.raises(BadOutput) as refused:
        ssd.decode([np.zeros((1, 4)), flood, np.zeros(1)], Ssd(), frame=FRAME, floor=0.1)

    assert refused.value.code == "output_too_large"


def test_absurd_class_numbers_become_no_class():
    found = decode([[0.0, 0, 1, 1]] * 2, [0.9, 0.9], [1e30, -1e30])

    assert found.class_ids.tolist() == [100_000, -1]
