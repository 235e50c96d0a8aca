from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.conversion import anchors


def test_there_are_1917_anchors_of_four_floats() -> None:
    boxes = anchors.boxes()

    assert boxes.shape == (1917, 4)
    assert boxes.dtype == np.float32


def test_the_maps_carry_three_then_six_shapes_a_cell() -> None:
    counts = [len(anchors.shapes(level)) for level in range(6)]

    assert counts == [3, 6, 6, 6, 6, 6]
    assert sum(n * side**2 for n, side in zip(counts, anchors.MAP_SIDES, strict=True)) == 1917


def test_the_first_cell_has_a_small_square_and_two_oblongs() -> None:
    centre = 0.5 / 19

    expected = [
        [centre, centre, 0.1, 0.1],
        [centre, centre, 0.2 / math.sqrt(2), 0.2 * math.sqrt(2)],
        [centre, centre, 0.2 * math.sqrt(2), 0.2 / math.sqrt(2)],
    ]
    np.testing.assert_allclose(anchors.boxes()[:3], expected, rtol=1e-6)


def test_anchors_run_along_rows_before_they_go_down() -> None:
    boxes = anchors.boxes()

    assert boxes[3, :2].tolist() == pytest.approx([0.5 / 19, 1.5 / 19])
    assert boxes[3 * 19, :2].tolist() == pytest.approx([1.5 / 19, 0.5 / 19])


def test_the_second_map_has_a_scale_of_035() -> None:
    first = anchors.boxes()[3 * 19 * 19 :][:6]

    assert first[0].tolist() == pytest.approx([0.05, 0.05, 0.35, 0.35])
    assert first[3].tolist() == pytest.approx(
        [0.05, 0.05, 0.35 / math.sqrt(3), 0.35 * math.sqrt(3)]
    )
    assert first[5].tolist() == pytest.approx([0.05, 0.05, math.sqrt(0.175), math.sqrt(0.175)])


def test_the_last_anchor_lies_between_095_and_the_whole_picture() -> None:
    assert anchors.boxes()[-1].tolist() == pytest.approx(
        [0.5, 0.5, math.sqrt(0.95), math.sqrt(0.95)]
    )
