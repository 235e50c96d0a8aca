"""The policy alone: it always decides, never waits for nobody, and always ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import agreement, policy

WIDTHS = (100.0, 200.0, 300.0)


def answer(kind):
    """Return one of three answers of which no two agree."""
    return [[(1, 0.9, 0.0, 0.0, WIDTHS[kind], 80.0)]]


def make_facts(kinds=(), **fields):
    defaults = {"quorum": 2, "score_threshold": 0.3, "running": 0, "errors": 0}
    facts = {**defaults, **fields}
    facts.setdefault("attempts", len(kinds) + facts["running"] + facts["errors"])
    return policy.Facts(answers=[answer(kind) for kind in kinds], **facts)


@st.composite
def any_facts(draw):
    kinds = draw(st.lists(st.integers(0, 2), max_size=8))
    running, errors, lost = (draw(st.integers(0, 4)) for _ in range(3))
    return make_facts(
        kinds,
        quorum=draw(st.integers(1, 3)),
        running=running,
        errors=errors,
        attempts=len(kinds) + running + errors + lost,
    )


@given(any_facts())
def test_it_always_decides_and_the_same_facts_give_the_same(facts):
    decision = policy.decide(facts)

    assert decision.action in {"wait", "more", "accept", "fail"}
    assert decision == policy.decide(facts)
    assert (decision.reason != "") == (decision.action == "fail")
    assert (decision.group != []) == (decision.action == "accept")


@given(any_facts())
def test_it_never_waits_for_nobody(facts):
    decision = policy.decide(facts)

    present = len(facts.answers) + facts.running
    if decision.action == "wait":
        assert facts.running > 0
        assert decision.wanted == present
    if decision.action == "more":
        assert decision.wanted > present


@given(any_facts())
def test_an_accepted_group_is_a_quorum_that_agrees_with_its_first(facts):
    decision = policy.decide(facts)

    if decision.action == "accept":
        canonical = facts.answers[decision.group[0]]
        assert len(set(decision.group)) >= facts.quorum
        assert all(
            agreement.agree(canonical, facts.answers[index], score_threshold=0.3)
            for index in decision.group
        )


@given(any_facts(), st.integers(0, 2), st.booleans())
def test_one_more_answer_never_undoes_an_acceptance(facts, kind, was_running):
    accepted = policy.decide(facts).action == "accept"

    more = replace(
        facts,
        answers=[*facts.answers, answer(kind)],
        running=max(0, facts.running - was_running),
        attempts=facts.attempts + (not was_running),
    )

    assert not accepted or policy.decide(more).action == "accept"


@given(any_facts())
def test_it_never_asks_for_more_than_the_attempts_allowed(facts):
    decision = policy.decide(facts)

    if decision.action == "more":
        asked = decision.wanted - len(facts.answers) - facts.running
        assert facts.attempts + asked <= policy.ATTEMPTS_MAX


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.sampled_from(["answer", "error", "lost"]), st.integers(0, 2)),
        min_size=policy.ATTEMPTS_MAX,
        max_size=policy.ATTEMPTS_MAX,
    ),
)
def test_any_history_ends_within_the_attempts_allowed(quorum, history):
    facts = make_facts(quorum=quorum)
    endings = iter(history)

    decision = policy.decide(facts)
    while decision.action in {"wait", "more"}:
        present = len(facts.answers) + facts.running
        granted = max(0, decision.wanted - present)
        ending, kind = next(endings)
        facts = replace(
            facts,
            answers=[*facts.answers, *([answer(kind)] if ending == "answer" else [])],
            running=facts.running + granted - 1,
            errors=facts.errors + (ending == "error"),
            attempts=facts.attempts + granted,
        )
        decision = policy.decide(facts)

    assert decision.action in {"accept", "fail"}
    assert facts.attempts <= policy.ATTEMPTS_MAX


def test_an_untouched_chunk_wants_its_quorum():
    assert policy.decide(make_facts()) == policy.Decision(action="more", wanted=2)


def test_one_answer_waits_for_the_one_still_running():
    assert policy.decide(make_facts([0], running=1)) == policy.Decision(action="wait", wanted=2)


def test_two_that_differ_want_a_third():
    decision = policy.decide(make_facts([0, 1]))

    assert decision == policy.Decision(action="more", wanted=3, is_disagreement=True)


def test_two_of_three_that_agree_are_accepted():
    assert policy.decide(make_facts([0, 1, 1])) == policy.Decision(action="accept", group=[1, 2])


def test_three_failing_owners_are_enough():
    decision = policy.decide(make_facts([0], running=1, errors=3))

    assert decision == policy.Decision(action="fail", reason="too_many_errors")


def test_six_answers_without_agreement_are_enough():
    decision = policy.decide(make_facts([0, 0, 1, 1, 2, 2], quorum=3))

    assert decision == policy.Decision(action="fail", reason="no_agreement")


def test_a_chunk_that_cannot_reach_its_quorum_any_more_is_given_up():
    decision = policy.decide(make_facts([0], quorum=3, attempts=7))

    assert decision == policy.Decision(action="fail", reason="too_many_retries")


@pytest.mark.parametrize(
    ("target_error", "mode", "quorum", "planned"),
    [
        ("1e-2", "normal", 2, 2),
        ("1e-3", "normal", 2, 2),
        ("1e-4", "normal", 3, 3),
        ("1e-4", "race", 1, 3),
    ],
)
def test_checks_follow_from_the_target_and_the_mode(target_error, mode, quorum, planned):
    assert policy.quorum(target_error=target_error, mode=mode) == quorum
    assert policy.planned_replicas(target_error=target_error, mode=mode) == planned
