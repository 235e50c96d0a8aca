"""The policy alone: it always decides, never waits for nobody, and always ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import acceptance
from tasks.verification.acceptance import Decision, Facts, Given

tiers = st.sampled_from(sorted(acceptance.TIERS))
modes = st.sampled_from(["normal", "race"])
#: Around the numbers of checks at which tiers begin to believe one node.
checks = st.sampled_from([0, 0.1, 1, 2, 19, 20, 21, 193, 194, 195, 1000])
tokens = st.integers(0, 2)


def is_equal(first, second):
    return first == second


def make_facts(answers=(), **fields):
    """Return facts of which answers are tokens; as many attempts as are known of."""
    known = len(answers) + len(fields.get("running", ())) + len(fields.get("errors", ()))
    defaults = {
        "target_error": "1e-3",
        "score_threshold": 0.3,
        "running": [],
        "attempts": known,
        "compare": is_equal,
    }
    return Facts(answers=list(answers), **{**defaults, **fields})


def told(token, *, checks=0.0, doubted=False):
    return Given(answer=token, checks=checks, is_doubted=doubted)


given_answers = st.builds(Given, answer=tokens, checks=checks, is_doubted=st.booleans())


@st.composite
def any_facts(draw, modes=modes):
    answers = draw(st.lists(given_answers, max_size=8))
    running = draw(st.lists(checks, max_size=4))
    errors = draw(st.lists(st.sampled_from(["memory", "decode"]), max_size=4))
    return make_facts(
        answers,
        running=running,
        errors=errors,
        target_error=draw(tiers),
        mode=draw(modes),
        referee=draw(st.none() | tokens),
        referee_error=draw(st.sampled_from(["", "memory"])),
        is_drawn=draw(st.booleans()),
        owners_wanted=draw(st.integers(0, 3)),
        is_overdue=draw(st.booleans()),
        attempts=len(answers) + len(running) + len(errors) + draw(st.integers(0, 4)),
    )


@given(any_facts())
def test_it_always_decides_and_the_same_facts_give_the_same(facts):
    decision = acceptance.decide(facts)

    assert decision == acceptance.decide(facts)
    assert (decision.reason != "") == (decision.action == "fail")
    assert decision.group == [] or decision.action == "accept"
    assert len(set(decision.group)) == len(decision.group)


@given(any_facts())
def test_it_never_waits_for_nobody(facts):
    decision = acceptance.decide(facts)

    assert decision.action != "wait" or facts.running
    assert (decision.missing > 0) or decision.action != "more"


@given(any_facts())
def test_it_never_asks_beyond_the_attempts_allowed(facts):
    decision = acceptance.decide(facts)

    assert decision.missing == 0 or facts.attempts + decision.missing <= acceptance.ATTEMPTS_MAX


@given(any_facts(modes=st.just("normal")), st.randoms())
def test_the_order_of_arrival_changes_nothing(facts, random):
    answers = list(facts.answers)
    random.shuffle(answers)
    shuffled = replace(
        facts, answers=answers, running=facts.running[::-1], errors=facts.errors[::-1]
    )

    one, other = acceptance.decide(facts), acceptance.decide(shuffled)

    assert replace(one, group=[]) == replace(other, group=[])
    assert sorted(facts.answers[index].answer for index in one.group) == sorted(
        answers[index].answer for index in other.group
    )


@given(any_facts(modes=st.just("normal")))
def test_an_accepted_group_is_believed_enough_and_is_all_that_agrees(facts):
    decision = acceptance.decide(facts)

    if decision.action == "accept" and facts.referee is None:
        tier = acceptance.TIERS[facts.target_error]
        canonical = facts.answers[decision.group[0]]
        standing = [index for index in decision.group if not facts.answers[index].is_doubted]
        assert decision.credibility >= 1 - tier.epsilon
        assert len(standing) >= tier.owners_min
        assert not canonical.is_doubted
        assert sorted(decision.group) == [
            index for index, each in enumerate(facts.answers) if each.answer == canonical.answer
        ]


@given(any_facts())
def test_the_referees_word_is_always_taken(facts):
    decision = acceptance.decide(replace(facts, referee=1))

    assert decision.action == "accept"
    assert sorted(decision.group) == [n for n, each in enumerate(facts.answers) if each.answer == 1]
    assert not decision.asks_referee


@given(any_facts(), checks)
def test_one_more_agreeing_answer_never_undoes_an_acceptance(facts, more_checks):
    before = acceptance.decide(facts)
    if before.action != "accept" or not before.group:
        return
    agreeing = told(facts.answers[before.group[0]].answer, checks=more_checks)

    after = acceptance.decide(replace(facts, answers=[*facts.answers, agreeing]))

    assert after.action == "accept"
    assert after.credibility >= before.credibility


@given(any_facts(modes=st.just("normal")))
def test_a_doubted_answer_decides_nothing(facts):
    undoubted = [each for each in facts.answers if not each.is_doubted]

    with_doubted = acceptance.decide(facts)
    without = acceptance.decide(replace(facts, answers=undoubted))

    assert replace(with_doubted, group=[], is_disagreement=False) == replace(
        without, group=[], is_disagreement=False
    )


@given(tiers, modes, st.lists(checks, max_size=4), st.data())
def test_higher_checks_never_need_more_replicas(tier, mode, known, data):
    raised = [each + data.draw(st.sampled_from([0, 1, 20, 200])) for each in known]

    def missing(of):
        return acceptance.missing(target_error=tier, mode=mode, checks=of)

    assert missing(raised) <= missing(known)
    assert missing([*known, 0]) <= missing(known)
    assert missing([*known, *[0] * missing(known)]) == 0


@given(tiers, st.lists(checks, min_size=1, max_size=5))
def test_what_nothing_is_missing_for_is_accepted_when_all_agree(tier, known):
    facts = make_facts([told(1, checks=each) for each in known], target_error=tier)
    missing = acceptance.missing(target_error=tier, mode="normal", checks=known)

    decision = acceptance.decide(facts)

    assert (decision.action == "accept") == (missing == 0)
    assert decision.missing == missing or decision.action == "referee"


@pytest.mark.parametrize(
    ("tier", "mode", "planned", "alone"),
    [
        ("1e-2", "normal", 2, 2),
        ("1e-3", "normal", 3, 20),
        ("1e-4", "normal", 4, None),
        ("1e-3", "race", 3, None),
    ],
)
def test_the_replicas_of_new_nodes_and_the_checks_after_which_one_suffices(
    tier, mode, planned, alone
):
    def missing(known):
        return acceptance.missing(target_error=tier, mode=mode, checks=[known])

    enough = next((known for known in range(1000) if missing(known) == 0), None)

    assert acceptance.planned_replicas(target_error=tier, mode=mode) == planned
    assert enough == alone


events = st.tuples(st.sampled_from(["answer", "error", "lost", "caught"]), tokens, checks)


@given(tiers, modes, st.booleans(), st.lists(events, min_size=40, max_size=40), st.booleans())
def test_any_history_ends_within_the_attempts_and_the_referee(
    tier, mode, is_drawn, history, referee_errs
):
    facts = make_facts(target_error=tier, mode=mode, is_drawn=is_drawn)
    asked = 0

    for kind, token, known in history:
        decision = acceptance.decide(facts)
        if decision.action in {"accept", "fail"} and not decision.missing:
            break
        if decision.action == "referee":
            asked += 1
            facts = replace(facts, **({"referee_error": "x"} if referee_errs else {"referee": 0}))
            continue
        running = [*facts.running, *[known] * decision.missing]
        facts = replace(facts, attempts=facts.attempts + decision.missing, running=running)
        facts = _happen(facts, kind, token)
    decision = acceptance.decide(facts)

    assert decision.action in {"accept", "fail"}
    assert decision.missing == 0
    assert facts.attempts <= acceptance.ATTEMPTS_MAX
    assert asked <= 1


def _happen(facts, kind, token):
    """Let one of those running answer, fail or be lost; "caught" is answered, then doubted."""
    first, *rest = facts.running
    facts = replace(facts, running=rest)
    if kind == "error":
        return replace(facts, errors=[*facts.errors, f"error {token}"])
    if kind == "lost":
        return facts
    answer = told(token, checks=first, doubted=kind == "caught")
    return replace(facts, answers=[*facts.answers, answer])


def test_an_untouched_chunk_asks_as_many_new_nodes_as_are_planned():
    assert acceptance.decide(make_facts()) == Decision(action="more", missing=3)


def test_a_known_node_is_believed_alone_and_audited_when_drawn():
    facts = make_facts([told(1, checks=20)])

    plain = acceptance.decide(facts)
    drawn = acceptance.decide(replace(facts, is_drawn=True))
    at_work = acceptance.decide(replace(facts, is_drawn=True, running=[0], attempts=2))

    assert (plain.action, plain.group, plain.missing) == ("accept", [0], 0)
    assert (drawn.action, drawn.missing) == ("accept", 1)
    assert (at_work.action, at_work.missing) == ("accept", 0)


def test_whoever_contradicts_the_accepted_answer_is_heard_by_the_referee():
    facts = make_facts([told(1, checks=20), told(1, checks=20), told(2)])

    decision = acceptance.decide(facts)

    assert decision.action == "accept"
    assert decision.group == [0, 1]
    assert decision.asks_referee
    assert not acceptance.decide(replace(facts, referee_error="memory")).asks_referee


def test_a_caught_nodes_answer_is_asked_of_others_and_may_turn_out_right():
    alone = make_facts([told(1, checks=20, doubted=True)])
    confirmed = make_facts([told(1, checks=20, doubted=True), told(1, checks=30)])

    assert acceptance.decide(alone) == Decision(action="more", missing=3)
    assert acceptance.decide(confirmed).group == [1, 0]


def test_a_doubted_answer_between_two_others_does_not_join_them():
    def near(first, second):
        return abs(first - second) <= 1

    facts = make_facts(
        [told(0, checks=1), told(1, checks=1, doubted=True), told(2, checks=1)], compare=near
    )

    assert acceptance.decide(facts).is_disagreement


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answers": [told(n) for n in range(5)]}, "no_agreement"),
        ({"errors": ["memory"] * 3}, "app_error"),
        ({"errors": ["memory"] * 3, "answers": [told(1)]}, "app_error"),
        ({"errors": ["memory", "decode"], "answers": [told(n) for n in range(5)]}, "no_agreement"),
        ({"attempts": 8}, "app_error"),
    ],
    ids=["five answers", "same errors", "errors and an answer", "other errors", "all lost"],
)
def test_what_nodes_cannot_settle_the_referee_does_or_nobody(fields, reason):
    facts = make_facts(**fields)

    assert acceptance.decide(facts).action == "referee"
    failed = acceptance.decide(replace(facts, referee_error="memory"))
    assert (failed.action, failed.reason) == ("fail", reason)


def test_a_race_is_won_by_the_first_undoubted_answer():
    facts = make_facts([told(2, doubted=True), told(1), told(0)], mode="race", running=[0])

    decision = acceptance.decide(facts)

    assert (decision.action, decision.group) == ("accept", [1])


def test_boxes_are_compared_by_the_rule_of_their_kind():
    def picture(width):
        return [[(1, 0.9, 0.0, 0.0, width, 80.0)]]

    widths = [100.0, 100.5, 200.0]
    facts = make_facts([told(picture(width), checks=20) for width in widths], compare=None)

    decision = acceptance.decide(facts)

    assert (decision.action, decision.group) == ("accept", [0, 1])
    assert decision.asks_referee


def test_staff_want_another_owner_behind_what_is_accepted():
    facts = make_facts([told(1, checks=50)], owners_wanted=2)

    decision = acceptance.decide(facts)

    assert (decision.action, decision.missing, decision.asks_referee) == ("accept", 1, False)
    assert acceptance.decide(replace(facts, running=[0.0])).missing == 0
    enough = make_facts([told(1, checks=50), told(1)], owners_wanted=2)
    assert acceptance.decide(enough).missing == 0


@pytest.mark.parametrize("late", [{"is_overdue": True}, {"attempts": acceptance.ATTEMPTS_MAX}])
def test_where_no_owner_comes_the_referee_is_asked_for_staff(late):
    facts = make_facts([told(1, checks=50)], **{"owners_wanted": 2, **late})

    assert acceptance.decide(facts).asks_referee
    assert not acceptance.decide(replace(facts, referee_error="model_died")).asks_referee
    assert not acceptance.decide(replace(facts, owners_wanted=0)).asks_referee
