"""Numbers of what is drawn: boxes with their words, acks on their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web import drawing


def test_acks_stand_where_their_time_is():
    line = drawing.timeline([50, 100, 200])

    assert [dot.x for dot in line.dots] == [146.0, 280.0, 548.0]
    assert line.dots[0].title == "node 1: 50 ms"
    assert [tick.word for tick in line.ticks] == ["0 s", "0.05 s", "0.1 s", "0.15 s", "0.2 s"]


@pytest.mark.parametrize(
    ("slowest_ms", "end"),
    [(0, "0.1 s"), (100, "0.1 s"), (101, "0.2 s"), (231, "0.4 s"), (999, "1 s"), (4001, "10 s")],
)
def test_the_line_ends_at_a_round_time(slowest_ms, end):
    assert drawing.timeline([slowest_ms]).ticks[-1].word == end


def test_no_acks_are_an_empty_line():
    assert drawing.timeline([]).dots == []


@given(st.lists(st.integers(0, 10_000_000), max_size=50))
def test_every_dot_is_on_the_line(latencies_ms):
    line = drawing.timeline(latencies_ms)

    assert len(line.dots) == len(latencies_ms)
    assert all(drawing.LINE_MARGIN <= dot.x <= drawing.LINE_WIDTH for dot in line.dots)


def test_a_label_stands_above_its_box_and_inside_at_the_top():
    high, low = drawing.boxes(
        [
            {"label": "cat", "score": 0.9, "box": [10, 0, 50, 50]},
            {"label": "cat", "score": 0.9, "box": [10, 100, 50, 50]},
        ],
        width=420,
        height=300,
    )

    assert high.text_y > high.y
    assert low.text_y < low.y


@given(
    st.floats(0, 1000), st.floats(0, 1000), st.sampled_from(["cat", "traffic light", "sports ball"])
)
def test_no_label_leaves_the_picture(x, y, label):
    found = {"label": label, "score": 0.5, "box": [x, y, 10.0, 10.0]}

    (box,) = drawing.boxes([found], width=1010, height=1010)

    letters = len(f"{label} 0.00") * drawing.text_size(1010, 1010) * drawing.LETTER_PART
    assert box.text_x >= 0
    assert box.text_x + letters <= 1010 + 0.1
    assert box.text_y > 0
