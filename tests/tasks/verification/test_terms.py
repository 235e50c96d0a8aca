"""The policy's terms at their bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import terms

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("checks", "chance"), [(0, 1), (4, 1), (9, 0.5), (19, 0.25), (500, 0.25)])
def test_new_nodes_see_gold_in_every_chunk_and_known_ones_in_every_fourth(checks, chance):
    assert terms.gold_chance(checks) == chance


@pytest.mark.parametrize(
    ("checks", "hours"), [(0, 168), (99.9, 168), (100, 48), (999, 48), (1000, 24)]
)
def test_the_better_known_a_node_the_shorter_its_answers_are_held(checks, hours):
    assert terms.hold(checks) == timedelta(hours=hours)


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=4))
def test_a_group_is_held_as_long_as_its_best_member(checks):
    assert terms.window(checks) == terms.hold(max(checks))


def test_what_the_referee_alone_says_is_not_held():
    assert terms.window([]) == timedelta(0)


@pytest.mark.parametrize(("checks", "share"), [(0, 0.05), (99, 0.05), (100, 0.02)])
def test_new_nodes_are_audited_more_often(checks, share):
    assert terms.audit_share(checks) == share


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"believed": 1, "answers_since": 99}, False),
        ({"believed": 1, "answers_since": 100}, True),
        ({"believed": 1, "answers_since": 0, "held": timedelta(days=7)}, True),
        ({"believed": 1, "answers_since": 0, "is_refereed": True}, True),
        ({"believed": 2, "answers_since": 0}, True),
    ],
)
def test_an_answer_believed_alone_waits_for_the_next_hundred_or_the_longest_hold(fields, expected):
    assert terms.may_settle(**{"held": timedelta(days=2), **fields}) is expected


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([0], "watched"),
        ([0, 30], "quarantined"),
        ([0, 31], "watched"),
        ([0, 100, 200], "banned"),
    ],
)
def test_strikes_lead_from_watching_to_quarantine_to_a_ban(days, expected):
    assert terms.standing([NOW + timedelta(days=day) for day in days]) == expected
