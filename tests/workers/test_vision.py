"""Model outputs become detections in pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workers import vision
from workers.protocol import boxes as wire_boxes
from workers.protocol import limits, manifest, messages
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.preparation import Frame

ALL = frozenset(range(100))


def detect(boxes, scores, classes, *, floor: float = 0.25, size=(200, 100), class_ids=ALL):
    return vision.detections(
        (
            np.array(boxes, dtype=np.float32).reshape(-1, 4),
            np.array(scores, dtype=np.float32),
            np.array(classes, dtype=np.int64),
        ),
        manifest.DETECTOR.output,
        frame=Frame(width=size[0], height=size[1]),
        width=size[0],
        height=size[1],
        floor=floor,
        class_ids=class_ids,
    )


def test_corners_become_pixels_of_the_picture():
    assert detect([[0.1, 0.2, 0.5, 0.6]], [0.75], [6]) == [(6, 0.75, 40.0, 10.0, 80.0, 40.0)]


def test_boxes_are_cut_at_the_edge():
    assert detect([[-0.2, 0.5, 1.3, 1.4]], [0.5], [1]) == [(1, 0.5, 100.0, 0.0, 100.0, 100.0)]


def test_the_highest_score_comes_first_and_ties_have_one_order():
    found = detect([[0, 0, 1, 1]] * 3 + [[0, 0.5, 1, 1]], [0.5, 0.9, 0.5, 0.5], [7, 1, 3, 3])

    assert [(each[0], each[1], each[2]) for each in found] == [
        (1, 0.9, 0.0),
        (3, 0.5, 0.0),
        (3, 0.5, 100.0),
        (7, 0.5, 0.0),
    ]


def test_a_score_at_the_floor_stays_and_one_below_goes():
    below = float(np.nextafter(np.float32(0.3), np.float32(0)))

    assert len(detect([[0, 0, 1, 1]] * 2, [0.3, below], [1, 1], floor=0.3)) == 1


def test_classes_the_model_was_not_registered_with_are_left_out():
    found = detect([[0, 0, 1, 1]] * 2, [0.9, 0.8], [12, 1], class_ids={1})

    assert [each[0] for each in found] == [1]


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.5, 0.9], [0.9, 0, 0.1, 1], [0, 1.2, 1, 1.4]])
def test_boxes_without_area_are_left_out(box):
    assert detect([box], [0.9], [1]) == []


def test_at_most_a_hundred_are_reported():
    scores = np.linspace(0.3, 0.9, 150)

    found = detect([[0, 0, 1, 1]] * 150, scores, [1] * 150)

    assert len(found) == limits.DETECTIONS_MAX
    assert found[0][1] == pytest.approx(0.9)
    assert found[-1][1] == pytest.approx(scores[50], abs=1e-6)


def test_nothing_is_found_in_nothing():
    assert detect([], [], []) == []


@pytest.mark.parametrize(
    ("boxes", "scores", "classes"),
    [
        ([[0, 0, 1, math.nan]], [0.5], [1]),
        ([[0, 0, 1, 1]], [math.nan], [1]),
        ([[0, 0, 1, math.inf]], [0.5], [1]),
        ([[0, 0, 1, 1]], [1.5], [1]),
        ([[0, 0, 1, 1]], [-3], [1]),
        ([[0, 0, 1, 1]], [0.5, 0.6], [1, 1]),
        ([[0, 0, 1, 1]], [0.5], [1, 1]),
        ([[0, 0, 1, 1]] * 2, [[0.5], [0.5]], [1, 1]),
    ],
)
def test_outputs_that_break_the_contract_are_refused(boxes, scores, classes):
    with pytest.raises(BadOutput):
        detect(boxes, scores, classes)


@given(
    boxes=arrays.arrays(np.float32, (8, 4), elements=st.floats(-2, 3, width=32)),
    scores=arrays.arrays(np.float32, 8, elements=st.floats(0, 1, width=32)),
    width=st.integers(8, limits.IMAGE_SIDE_MAX),
    height=st.integers(8, 5000),
    floor=st.floats(0, 1),
)
def test_every_detection_is_one_the_platform_takes(boxes, scores, width, height, floor):
    found = detect(boxes, scores, range(8), floor=floor, size=(width, height))

    answer = messages.Answer(position=0, width=width, height=height, detections=found)
    assert answer.detections == found
    for each in found:
        assert wire_boxes.is_inside(each[2:], width=width, height=height, slack=0.02)
        assert each[1] >= floor - 1e-6


def test_a_classifiers_five_likeliest_come_in_order():
    probabilities = np.array([[0.05, 0.4, 0.1, 0.3, 0.05, 0.05, 0.05]], dtype=np.float32)
    how = manifest.Classes(decoder="classify", output="p")

    found = vision.classes([probabilities], how, count=7)

    assert found == [(1, 0.4), (3, 0.3), (2, 0.1), (0, 0.05), (4, 0.05)]
