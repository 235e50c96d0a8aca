"""Intersection over union, and what lies inside a picture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import boxes

numbers = st.floats(0, 65_500)
any_box = st.tuples(numbers, numbers, numbers, numbers)


@given(any_box, any_box)
def test_iou_is_symmetric_and_between_0_and_1(first, second):
    value = boxes.iou(first, second)

    assert 0 <= value <= 1
    assert value == pytest.approx(boxes.iou(second, first))


@given(any_box)
def test_a_box_with_area_is_wholly_itself(box):
    expected = 1.0 if box[2] * box[3] > 0 else 0.0

    assert boxes.iou(box, box) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0.0),
        ((0, 0, 10, 10), (2, 2, 5, 5), 0.25),
        ((0, 0, 10, 10), (3, 3, 0, 5), 0.0),
    ],
)
def test_known_overlaps(first, second, expected):
    assert boxes.iou(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 100, 50), True),
        ((-1, 0, 101, 50), True),
        ((-1.1, 0, 10, 10), False),
        ((0, 0, 102, 50), False),
        ((0, 10, 10, 42), False),
        ((10, 10, -1, 5), False),
        ((math.nan, 0, 1, 1), False),
        ((0, 0, math.inf, 1), False),
    ],
)
def test_boxes_inside_a_picture_of_100_by_50(box, expected):
    assert boxes.is_inside(box, width=100, height=50) is expected
