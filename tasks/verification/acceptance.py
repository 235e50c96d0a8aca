"""What to do next with a chunk, from the facts about it alone. Pure.

The client bought an error rate eps. An answer is accepted once the group that gives it is
believed to 1 - eps (`credibility`): one node with a record, or several without one. What
was accepted stays provisional; when a node is caught, its answers count no longer, and the
same function says of each chunk whether the rest still carries it. `decide` is the whole
policy; the rest of the platform only carries it out, and `bench/fleet.py` simulates it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from tasks.verification import agreement, credibility


@dataclass(frozen=True, kw_only=True)
class Tier:
    """What a target error rate asks for."""

    #: Accepted answers are right with at least 1 - epsilon.
    epsilon: float
    #: Owners who must agree, whatever their record.
    owners_min: int


TIERS: Final = {
    "1e-2": Tier(epsilon=1e-2, owners_min=1),
    "1e-3": Tier(epsilon=1e-3, owners_min=1),
    "1e-4": Tier(epsilon=1e-4, owners_min=2),
}
#: Nodes that race each other; the first valid answer wins.
RACERS: Final = 3
#: Attempts at one chunk, lost and failed ones included, before the referee decides.
ATTEMPTS_MAX: Final = 8
#: Answers looked at before the referee decides.
ANSWERS_MAX: Final = 5
#: Owners whose nodes failed in the same way before the referee decides.
ERRORS_MAX: Final = 3


@dataclass(frozen=True, kw_only=True)
class Given:
    """One valid answer, each of another owner."""

    answer: agreement.Answer
    #: Checks its node had passed when it came; see `credibility.of_checks`.
    checks: float
    #: Its node was caught since: it proves nothing, but may turn out right.
    is_doubted: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of one chunk."""

    #: Key of `TIERS`.
    target_error: str
    score_threshold: float
    #: In order of arrival; only a race looks at the order, and equal answers among themselves.
    answers: Sequence[Given]
    #: Checks of each node that holds a lease on it now.
    running: Sequence[float]
    #: Replicas ever assigned, without those handed back untouched.
    attempts: int
    #: What each owner's node said when it failed.
    errors: Sequence[str] = ()
    #: The referee's answer, or its own error.
    referee: agreement.Answer | None = None
    referee_error: str = ""
    #: Drawn by lot: if accepted on one owner's word, another computes it again.
    is_drawn: bool = False
    #: Owners whose believed answers staff want behind the result; 0: as the policy says.
    owners_wanted: int = 0
    #: It should have settled by now: whatever is still missing, the referee gives.
    is_overdue: bool = False
    #: "detect" or "classify": how answers are compared.
    kind: str = "detect"
    mode: str = "normal"
    #: How two answers are compared, if not by `kind`: simulated ones are mere tokens.
    compare: Callable[[agreement.Answer, agreement.Answer], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do: wait, ask `missing` more nodes, ask the referee, accept, or give up.

    With "accept" there may still be an audit to make (`missing`) or an accusation to be
    judged (`asks_referee`).
    """

    action: Literal["wait", "more", "referee", "accept", "fail"]
    #: Indices into `Facts.answers`, the canonical one first. Empty with "accept": only the
    #: referee's own answer stands.
    group: list[int] = field(default_factory=list)
    #: How far the group is believed, 0..1.
    credibility: float = 0.0
    #: Replicas to give out beyond those that run or answered.
    missing: int = 0
    #: An undoubted answer differs from the accepted one: nobody is punished unheard.
    asks_referee: bool = False
    #: "no_agreement" or "app_error", with "fail".
    reason: str = ""
    is_disagreement: bool = False


def planned_replicas(*, target_error: str, mode: str) -> int:
    """Return how many replicas of each chunk a client pays for at most: by fresh nodes."""
    if mode == "race":
        return RACERS
    return missing(target_error=target_error, mode=mode, checks=[])


def missing(*, target_error: str, mode: str, checks: Sequence[float]) -> int:
    """Return how many more fresh nodes a chunk needs if all that have it agree.

    `checks`: of each node that answered or holds it. The scheduler asks this when it gives
    a chunk out, so that fresh nodes work side by side instead of one after the other.
    """
    if mode == "race":
        return max(0, RACERS - len(checks))
    tier = TIERS[target_error]
    believed = [credibility.of_checks(each) for each in checks]
    return _missing(tier, believed, others=[])


def decide(facts: Facts) -> Decision:
    """Decide from `facts`; the same facts always give the same decision."""
    if facts.referee is not None:
        return _refereed(facts, facts.referee)
    if facts.mode == "race":
        return _raced(facts)
    tier = TIERS[facts.target_error]
    groups = _groups(facts)
    believed = [
        [credibility.of_checks(facts.answers[index].checks) for index in group] for group in groups
    ]
    probabilities = credibility.of_groups(believed)
    # No tie can be accepted: at most one group reaches 1 - epsilon.
    best = max(range(len(groups)), key=probabilities.__getitem__, default=None)
    if best is None:
        return _go_on(facts, _missing_beside_running(facts, tier, [], []), is_disagreement=False)
    is_disagreement = len(groups) > 1
    if _is_accepted(tier, believed[best], probabilities[best]):
        return Decision(
            action="accept",
            group=[*groups[best], *_doubted_like(facts, groups[best][0])],
            credibility=probabilities[best],
            missing=_audits_missing(facts, believed[best]),
            asks_referee=(is_disagreement or _lacks_owners(facts, believed[best]))
            and not facts.referee_error,
            is_disagreement=is_disagreement,
        )
    others = [members for index, members in enumerate(believed) if index != best]
    return _go_on(
        facts,
        _missing_beside_running(facts, tier, believed[best], others),
        is_disagreement=is_disagreement,
    )


def _groups(facts: Facts) -> list[list[int]]:
    """Group the undoubted answers alone: a doubted one must neither lead nor join others."""
    standing = [index for index, given in enumerate(facts.answers) if not given.is_doubted]
    found = agreement.groups(
        [facts.answers[index].answer for index in standing],
        score_threshold=facts.score_threshold,
        kind=facts.kind,
        compare=facts.compare,
    )
    return [[standing[place] for place in group] for group in found]


def _doubted_like(facts: Facts, canonical: int) -> list[int]:
    """Return the doubted answers that turned out right: as the canonical one."""
    accepted = facts.answers[canonical].answer
    return [
        index
        for index, given in enumerate(facts.answers)
        if given.is_doubted and _is_same(facts, given.answer, accepted)
    ]


def _is_same(facts: Facts, first: agreement.Answer, second: agreement.Answer) -> bool:
    if facts.compare is not None:
        return facts.compare(first, second)
    return agreement.same(first, second, score_threshold=facts.score_threshold, kind=facts.kind)


def _refereed(facts: Facts, referee: agreement.Answer) -> Decision:
    """Take the referee's word: it computed the chunk on the platform's own machine."""
    group = [
        index for index, given in enumerate(facts.answers) if _is_same(facts, given.answer, referee)
    ]
    return Decision(
        action="accept",
        group=sorted(group, key=partial(_rank, facts)),
        credibility=1.0,
        is_disagreement=len(group) < len(facts.answers),
    )


def _rank(facts: Facts, index: int) -> tuple[bool, str]:
    """Order answers of a group: believed ones first, then by their text, not by arrival."""
    given = facts.answers[index]
    return given.is_doubted, repr(given.answer)


def _raced(facts: Facts) -> Decision:
    valid = [index for index, given in enumerate(facts.answers) if not given.is_doubted]
    if valid:
        first = facts.answers[valid[0]]
        return Decision(
            action="accept", group=valid[:1], credibility=credibility.of_checks(first.checks)
        )
    return _go_on(facts, max(0, RACERS - len(facts.running)), is_disagreement=False)


def _go_on(facts: Facts, more: int, *, is_disagreement: bool) -> Decision:
    """Not enough yet: wait, ask more nodes, or let the referee end it."""
    repeated = max(Counter(facts.errors).values(), default=0)
    given = sum(not each.is_doubted for each in facts.answers)
    is_stuck = (
        facts.is_overdue
        or repeated >= ERRORS_MAX
        or (more > 0 and facts.attempts + more > ATTEMPTS_MAX)
        or (more > 0 and given >= ANSWERS_MAX)
    )
    if is_stuck and facts.referee_error:
        reason = "no_agreement" if given and repeated < ERRORS_MAX else "app_error"
        return Decision(action="fail", reason=reason, is_disagreement=is_disagreement)
    if is_stuck:
        return Decision(action="referee", is_disagreement=is_disagreement)
    if more > 0:
        return Decision(action="more", missing=more, is_disagreement=is_disagreement)
    return Decision(action="wait", is_disagreement=is_disagreement)


def _audits_missing(facts: Facts, believed: Sequence[float]) -> int:
    """Return 1 if another owner should compute it again: one word alone, or staff ask."""
    may_ask = not facts.running and facts.attempts < ATTEMPTS_MAX
    is_wanted = (facts.is_drawn and len(believed) == 1) or len(believed) < facts.owners_wanted
    return int(is_wanted and may_ask)


def _lacks_owners(facts: Facts, believed: Sequence[float]) -> bool:
    """Say whether the owners that staff want cannot be had any more: then the referee must."""
    is_over = facts.is_overdue or (not facts.running and facts.attempts >= ATTEMPTS_MAX)
    return len(believed) < facts.owners_wanted and is_over


def _missing_beside_running(
    facts: Facts, tier: Tier, members: Sequence[float], others: Sequence[Sequence[float]]
) -> int:
    running = [credibility.of_checks(checks) for checks in facts.running]
    return _missing(tier, [*members, *running], others=others)


def _missing(tier: Tier, members: Sequence[float], *, others: Sequence[Sequence[float]]) -> int:
    """Return how many fresh members the group needs to be accepted against the others."""
    fresh = credibility.of_checks(0)
    for more in range(ATTEMPTS_MAX + 1):
        extended = [*members, *[fresh] * more]
        if _is_accepted(tier, extended, credibility.of_groups([extended, *others])[0]):
            return more
    return ATTEMPTS_MAX + 1


def _is_accepted(tier: Tier, members: Sequence[float], probability: float) -> bool:
    return len(members) >= tier.owners_min and probability >= 1 - tier.epsilon
