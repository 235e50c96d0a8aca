"""What the benches make of their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import measures

VALUES = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("count", "share", "found"),
    [(1, 0.95, 1), (7, 0.95, 7), (20, 0.95, 19), (100, 0.95, 95), (1000, 0.99, 990), (4, 0.5, 2)],
)
def test_a_percentile_is_the_nearest_rank(count, share, found):
    assert measures.percentile(list(range(count, 0, -1)), share=share) == found


def test_nothing_has_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        measures.percentile([], share=0.5)


@given(values=VALUES, share=st.floats(0, 1))
def test_a_percentile_is_not_exceeded_by_its_share_and_is_the_least_such(values, share):
    found = measures.percentile(values, share=share)

    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) <= share * len(values) + 1e-6


def test_ratios_are_taken_round_by_round():
    assert measures.ratios([2, 9], [4, 3]) == [0.5, 3.0]
    with pytest.raises(ValueError, match="zip"):
        measures.ratios([1], [1, 2])


def test_the_spread_names_how_many_values_it_is_of():
    assert measures.spread([3, 1.00049, 2]) == {"min": 1.0, "median": 2, "max": 3, "rounds": 3}


def ideal(chunks: int, slowness: list[float], lost_at: list[float | None]) -> float:
    return measures.ideal_seconds(
        chunks=chunks, chunk_seconds=2.0, slowness=slowness, lost_at=lost_at
    )


@pytest.mark.parametrize(
    ("chunks", "slowness", "lost_at", "seconds"),
    [
        (10, [1], [None], 20),
        (10, [1, 1], [None, None], 10),
        (11, [1, 10], [None, None], 20),
        (10, [1, 1], [None, 4], 16),  # 4 together in the first 4 seconds, 6 alone
        (10, [1, 1, 1], [None, 4, 2], 14),  # 3 in 2 seconds, 2 more by the fourth, 5 alone
        (4, [1, 1], [4, 6], 4),
    ],
)
def test_the_ideal_is_what_all_do_together_while_they_are_there(chunks, slowness, lost_at, seconds):
    assert ideal(chunks, slowness, lost_at) == pytest.approx(seconds)


def test_without_anybody_there_is_no_ideal():
    with pytest.raises(ValueError, match="nobody"):
        ideal(5, [1, 1], [4, 4])


def test_the_bootstrap_interval_is_read_from_means_of_values_drawn_again():
    low, high = measures.interval([0.0] * 50 + [1.0] * 50)

    # A share of a half, of a hundred: the normal approximation says 0.402 to 0.598.
    assert low == pytest.approx(0.402, abs=0.015)
    assert high == pytest.approx(0.598, abs=0.015)
    assert measures.interval([0.0] * 50 + [1.0] * 50) == (low, high)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_an_interval_lies_within_the_values(values):
    low, high = measures.interval(values)

    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_one_value_says_nothing_of_its_spread_and_none_has_no_interval():
    assert measures.interval([0.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        measures.interval([])
