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


def struck(day: float, answers: int = 0, *, is_near: bool = False) -> terms.Struck:
    return terms.Struck(at=NOW + timedelta(days=day), answers=answers, is_near=is_near)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([0], "watched"),
        ([0, 30], "quarantined"),
        ([0, 31], "watched"),
        ([0, 45, 90], "banned"),
        ([0, 100, 200], "banned"),  # nothing is forgiven to a node that gave no answers since
    ],
)
def test_strikes_lead_from_watching_to_quarantine_to_a_ban(days, expected):
    assert terms.standing([struck(day) for day in days]) == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (struck(0, 0), "quarantined"),
        (struck(1, 500), "banned"),  # 500 answers, but in 90 days
        (struck(0, 501), "banned"),  # 91 days, but 499 answers
    ],
)
def test_a_strike_is_forgiven_after_ninety_days_and_five_hundred_answers(first, expected):
    assert terms.standing([first, struck(80, 900), struck(91, 1000)]) == expected


def test_nearly_right_answers_alone_never_ban():
    near = [struck(day, is_near=True) for day in range(10)]

    assert terms.standing(near) == "quarantined"
    assert terms.standing([struck(0), struck(1), *near]) == "quarantined"
    assert terms.standing([struck(0), struck(1), *near, struck(11)]) == "banned"


@given(
    st.lists(
        st.builds(struck, st.floats(0, 400), st.integers(0, 3000), is_near=st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_without_an_earlier_strike_a_node_stands_no_worse(strikes):
    strikes.sort(key=lambda each: each.at)
    order = ["watched", "quarantined", "banned"]

    fewer = terms.standing(strikes[1:] or strikes)

    assert order.index(fewer) <= order.index(terms.standing(strikes))


@pytest.mark.parametrize(
    ("is_near", "since", "expected"),
    [
        (False, None, True),
        (False, 9999, True),
        (True, None, False),
        (True, 500, False),
        (True, 499, True),
        (True, 0, True),
    ],
)
def test_a_nearly_right_answer_is_a_strike_if_one_was_given_lately(is_near, since, expected):
    assert terms.is_strike(is_near=is_near, answers_since_near=since) is expected


@given(st.floats(0, 1e6))
def test_a_strike_takes_all_checks_and_a_warning_half_of_them(checks):
    assert terms.lost(checks, is_strike=True) == checks
    assert terms.lost(checks, is_strike=False) == checks / 2
