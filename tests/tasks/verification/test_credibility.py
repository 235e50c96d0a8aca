"""How far answers are believed: against all cases tried out, and the laws that follow."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import credibility

members = st.lists(st.floats(0.95, 0.99999), max_size=3)
groups = st.lists(members, max_size=4)


def by_trying_all(found):
    """Bayes over every case of good and bad nodes that the answers allow.

    Good nodes all give the right answer, so they are all in one group or there are none. A
    bad node may give any answer: its chance says nothing of which group it is in.
    """
    flat = [(index, c) for index, group in enumerate(found) for c in group]
    cases = {}
    for case in itertools.product([True, False], repeat=len(flat)):
        right = {index for (index, _), is_good in zip(flat, case, strict=True) if is_good}
        if len(right) > 1:
            continue
        complete = all(
            is_good == (index in right) for (index, _), is_good in zip(flat, case, strict=True)
        )
        if complete:  # members of the right group count as good: they gave the right answer
            key = next(iter(right), None)
            cases[key] = math.prod(
                c if is_good else 1 - c for (_, c), is_good in zip(flat, case, strict=True)
            )
    total = sum(cases.values())
    return [cases.get(index, 0.0) / total if group else 0.0 for index, group in enumerate(found)]


@given(groups)
def test_groups_are_believed_as_trying_all_cases_says(found):
    assert credibility.of_groups(found) == pytest.approx(by_trying_all(found), rel=1e-9)


@given(groups.flatmap(lambda found: st.tuples(st.just(found), st.permutations(range(len(found))))))
def test_the_order_of_groups_and_members_changes_no_bit(both):
    found, order = both
    shuffled = [list(reversed(found[index])) for index in order]

    beliefs = credibility.of_groups(found)

    assert credibility.of_groups(shuffled) == [beliefs[index] for index in order]


@given(groups)
def test_beliefs_are_probabilities_of_cases_that_exclude_each_other(found):
    beliefs = credibility.of_groups(found)

    assert all(0 <= belief < 1 for belief in beliefs)
    assert math.fsum(beliefs) <= 1 + 1e-12


@given(members, members, st.floats(0.95, 0.99999))
def test_one_more_agreeing_answer_never_lowers_belief_and_helps_no_other(ours, theirs, one_more):
    before = credibility.of_groups([ours, theirs])
    after = credibility.of_groups([[*ours, one_more], theirs])

    assert after[0] >= before[0]
    assert after[1] <= before[1]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_checks_are_never_believed_less(one, other):
    fewer, more = sorted([one, other])

    assert 0.95 <= credibility.of_checks(fewer) <= credibility.of_checks(more) < 1


@pytest.mark.parametrize(
    ("checks", "believed"), [(0, 0.95), (0.1, 0.95), (20, 0.999032), (194, 0.9999002)]
)
def test_the_bound_is_sarmentas(checks, believed):
    assert credibility.of_checks(checks) == pytest.approx(believed, abs=1e-6)


def test_two_new_nodes_that_agree_are_believed_as_published():
    fresh = credibility.of_checks(0)

    assert credibility.of_groups([[fresh] * 2]) == [pytest.approx(0.9972, abs=1e-4)]
    assert credibility.of_groups([[fresh] * 3]) == [pytest.approx(0.99985, abs=1e-5)]
    assert credibility.of_groups([]) == []
