"""Money, durations, sizes and states as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import money
from portal.templatetags import nodefolk
from tasks.models import Item, Job, Node, Replica


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (0, "0.00"),
        (1, "0.0000001"),
        (440_000, "0.044"),
        (12_842_000_000, "1,284.20"),
        (-440_000, "-0.044"),
        (-12_842_000_000, "-1,284.20"),
    ],
)
def test_money_is_trimmed_and_grouped(minor, text):
    assert nodefolk.amount(minor) == text


@given(st.integers(-money.MAX_AMOUNT_MINOR, money.MAX_AMOUNT_MINOR))
def test_trimmed_money_is_the_same_money(minor):
    text = nodefolk.amount(minor).replace(",", "")

    assert money.parse_amount(text.lstrip("-")) == abs(minor)
    assert text.startswith("-") == (minor < 0)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (99, "99 ms"),
        (310, "0.31 s"),
        (1000, "1 s"),
        (59_600, "1 min 0 s"),
        (125_000, "2 min 5 s"),
        (3_725_000, "1 h 2 min"),
    ],
)
def test_durations_have_two_units_at_most(milliseconds, text):
    assert nodefolk.seconds(milliseconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (2048, "2 KB"), (16 * 2**30, "16 GB"), (2**41, "2.0 TB")]
)
def test_sizes(count, text):
    assert nodefolk.size(count) == text


def test_a_time_says_its_zone_until_the_browser_rewrites_it():
    tag = nodefolk.when(datetime(2026, 11, 25, 12, 0, tzinfo=UTC))

    assert tag == (
        '<time datetime="2026-11-25T12:00:00.000+00:00" data-local>25 Nov 2026, 12:00 UTC</time>'
    )
    assert nodefolk.when(None) == "-"


@pytest.mark.parametrize("states", [Job.State, Item.State, Replica.State, Node.State], ids=str)
def test_every_state_has_a_tone(states):
    assert [state for state in states.values if state not in nodefolk.TONES] == []


def test_a_badge_escapes_what_it_is_given():
    assert "<b>" not in nodefolk.badge("<b>")
    assert "tone-good" in nodefolk.badge("finished")


@given(st.text(max_size=40))
def test_a_label_has_one_of_the_colours(label):
    assert nodefolk.colour(label) in {f"c{number}" for number in range(nodefolk.COLOURS)}


def test_frequent_labels_differ():
    assert len({nodefolk.colour(label) for label in nodefolk.FREQUENT}) == nodefolk.COLOURS


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=-3), "0 s"),
        (timedelta(seconds=7), "7 s"),
        (timedelta(minutes=2, seconds=5), "2 min 5 s"),
        (timedelta(hours=47), "47 h 0 min"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_an_age_is_written_in_the_unit_that_people_read(now, passed, text):
    assert nodefolk.age(now - passed, now) == text


def test_what_never_was_has_no_age(now):
    assert nodefolk.age(None, now) == "-"
