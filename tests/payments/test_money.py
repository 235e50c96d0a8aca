"""Amounts: writing, strict reading, exact splitting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import money

AMOUNTS = st.integers(0, money.MAX_AMOUNT_MINOR)
WEIGHTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any)


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (123_400_000, "12.3400000"),
        (0, "0.0000000"),
        (1, "0.0000001"),
        (-5, "-0.0000005"),
        (-10_000_000, "-1.0000000"),
        (money.MAX_AMOUNT_MINOR, "1000000000.0000000"),
    ],
)
def test_an_amount_is_written_with_seven_decimals(minor, text):
    assert money.format_amount(minor) == text


@pytest.mark.parametrize(
    ("text", "minor"),
    [("0", 0), ("12", 120_000_000), ("0.1", 1_000_000), ("1.2345678", 12_345_678)],
)
def test_an_amount_is_read(text, minor):
    assert money.parse_amount(text) == minor


@pytest.mark.parametrize(
    "text",
    [
        *("", " 1", "1 ", "1\n", "+1", "-1", "1e3", "1.", ".5", "1.12345678", "01", "1,5"),
        *("0x1", "1_0", "nan", "inf", "\u0661", "1.\u0661", "1000000000.0000001", "9" * 400),
    ],
)
def test_anything_else_is_not_an_amount(text):
    with pytest.raises(money.InvalidAmount):
        money.parse_amount(text)


@given(AMOUNTS)
def test_what_is_written_is_read_back(minor):
    assert money.parse_amount(money.format_amount(minor)) == minor


@given(st.text(alphabet="0123456789.-+e ", max_size=24))
def test_whatever_is_read_is_within_bounds(text):
    try:
        minor = money.parse_amount(text)
    except money.InvalidAmount:
        return

    assert 0 <= minor <= money.MAX_AMOUNT_MINOR


@pytest.mark.parametrize("minor", [0, -1, money.MAX_AMOUNT_MINOR + 1])
def test_nothing_less_and_nothing_too_much_can_be_moved(minor):
    with pytest.raises(money.InvalidAmount):
        money.require_positive(minor)


@given(AMOUNTS, WEIGHTS)
def test_the_parts_of_a_split_sum_to_the_whole_and_are_off_by_less_than_one(amount, weights):
    parts = money.split(amount, weights)

    assert sum(parts) == amount
    total = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * total - amount * weight) < total


def test_what_is_left_over_goes_to_the_largest_remainder_then_to_the_first():
    assert money.split(10, [1, 1, 1]) == [4, 3, 3]
    assert money.split(7, [10, 25, 65]) == [1, 2, 4]
    assert money.split(1, [1, 2]) == [0, 1]


@pytest.mark.parametrize(("amount", "weights"), [(-1, [1]), (1, []), (1, [0, 0]), (1, [2, -1])])
def test_an_impossible_split_is_refused(amount, weights):
    with pytest.raises(ValueError, match="splitting needs"):
        money.split(amount, weights)
