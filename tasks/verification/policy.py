"""What to do next with a chunk, from its answers alone. Pure.

A simple quorum: as many answers from different owners as the target error asks for must
agree. `decide` is the whole policy; the rest of the platform only carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.verification import agreement

#: Answers that must agree, each from another owner, for a target error rate.
QUORUM = {"1e-2": 2, "1e-3": 2, "1e-4": 3}
#: Nodes that race each other; the first valid answer wins.
RACERS = 3
#: Attempts at one chunk, lost and failed ones included.
ATTEMPTS_MAX = 8
#: Owners whose nodes may fail on a chunk before it is given up.
ERRORS_MAX = 3
#: Answers looked at before a chunk without agreement is given up.
ANSWERS_MAX = 6


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of one chunk."""

    quorum: int
    score_threshold: float
    #: Valid answers in order of arrival.
    answers: Sequence[agreement.Answer]
    #: Replicas still out with a lease.
    running: int
    #: Replicas ever assigned, without those handed back untouched.
    attempts: int
    #: Replicas that ended in an error of the node.
    errors: int
    #: "detect" or "classify": how answers are compared.
    kind: str = "detect"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do: wait, ask `more` nodes, accept `group`, or give up for `reason`."""

    action: Literal["wait", "more", "accept", "fail"]
    #: Replicas that should be in or out in all; with `more` and `wait`.
    wanted: int = 0
    #: Indices into `Facts.answers`; the first one is the canonical answer.
    group: list[int] = field(default_factory=list)
    #: "too_many_errors", "no_agreement" or "too_many_retries".
    reason: str = ""
    is_disagreement: bool = False


def planned_replicas(*, target_error: str, mode: str) -> int:
    """Return how many replicas of each chunk a client pays for."""
    return RACERS if mode == "race" else QUORUM[target_error]


def quorum(*, target_error: str, mode: str) -> int:
    """Return how many answers must agree."""
    return 1 if mode == "race" else QUORUM[target_error]


def decide(facts: Facts) -> Decision:
    """Decide from `facts`; the same facts always give the same decision."""
    group = agreement.largest_group(
        facts.answers, score_threshold=facts.score_threshold, kind=facts.kind
    )
    if len(group) >= facts.quorum:
        return Decision(action="accept", group=group)
    if facts.errors >= ERRORS_MAX:
        return Decision(action="fail", reason="too_many_errors")
    present = len(facts.answers) + facts.running
    missing = facts.quorum - len(group) - facts.running
    if missing <= 0:
        return Decision(action="wait", wanted=present)
    if len(facts.answers) >= ANSWERS_MAX:
        return Decision(action="fail", reason="no_agreement")
    if facts.attempts + missing > ATTEMPTS_MAX:
        return Decision(action="fail", reason="too_many_retries")
    return Decision(
        action="more",
        wanted=present + missing,
        is_disagreement=len(group) < len(facts.answers),
    )
