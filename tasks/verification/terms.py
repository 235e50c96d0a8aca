"""The policy's terms: how often is checked, how long may be doubted, what follows a fault. Pure.

Here are the numbers and the rules made of them; the rest of `verification` carries them out
in the database and `bench/fleet.py` in a simulation. Sources: docs/verification.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

#: A chunk holds a gold picture at least this often.
GOLD_CHANCE_MIN: Final = 0.25
#: ... and surely while its node has passed fewer checks than this.
GOLD_SURE_BELOW: Final = 5
#: Share of answers accepted on one node's word that are audited; of nodes with few checks.
AUDIT_SHARE: Final = 0.02
AUDIT_SHARE_OF_NEW: Final = 0.05
#: Checks from which a node is not new any more.
CHECKS_OF_OLD: Final = 100
#: How long answers may be called into question, by the checks their node had passed.
HOLD_MAX: Final = timedelta(days=7)
HOLD_FROM_CHECKS: Final = ((1000, timedelta(hours=24)), (100, timedelta(hours=48)))
#: Answers a node believed alone must have accepted after one before that one is final.
ANSWERS_AFTER: Final = 100
#: Two strikes within this time put a node in quarantine.
STRIKES_WITHIN: Final = timedelta(days=30)
QUARANTINE: Final = timedelta(days=7)
#: Lies that count together until a node is banned.
LIES_MAX: Final = 3
#: A strike is forgiven when it is so old, and its node has had so many answers accepted since.
FORGIVEN_AFTER: Final = timedelta(days=90)
FORGIVEN_ANSWERS: Final = 500
#: A near miss is a strike if its node had another within so many accepted answers. Honest
#: machines differ in the last digits about once in 10,000 checks.
NEAR_ANSWERS: Final = 500

Standing = Literal["watched", "quarantined", "banned"]


def gold_chance(checks: float) -> float:
    """Return how probably a chunk first given to a node with `checks` holds a gold picture."""
    return max(GOLD_CHANCE_MIN, min(1.0, GOLD_SURE_BELOW / (checks + 1)))


def audit_share(checks: float) -> float:
    """Return the share of answers that are audited of a node with `checks` believed alone."""
    return AUDIT_SHARE if checks >= CHECKS_OF_OLD else AUDIT_SHARE_OF_NEW


def hold(checks: float) -> timedelta:
    """Return how long an answer may be called into question whose node passed `checks`."""
    return next((window for least, window in HOLD_FROM_CHECKS if checks >= least), HOLD_MAX)


def window(checks: Sequence[float]) -> timedelta:
    """Return how long a group's answer may be called into question: the best member counts.

    Nobody's answer but the referee's own needs no time at all.
    """
    return min(map(hold, checks), default=timedelta(0))


def may_settle(
    *, believed: int, held: timedelta, answers_since: int, is_refereed: bool = False
) -> bool:
    """Say whether an accepted answer whose window is over is final.

    `believed`: undoubted members of its group; `answers_since`: answers accepted after it of
    the node that is believed alone; `held`: since it was accepted.
    """
    return is_refereed or believed != 1 or held >= HOLD_MAX or answers_since >= ANSWERS_AFTER


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A strike, as far as later ones are judged by it."""

    at: datetime
    #: Answers its node had had accepted by then.
    answers: int
    #: Its node was nearly right, more than once.
    is_near: bool = False


def is_strike(*, is_near: bool, answers_since_near: int | None) -> bool:
    """Say whether a wrong answer is a strike, or a warning that costs its reward alone.

    `answers_since_near`: accepted since the node's near miss before this one; None: it had
    none. What differs beyond the loose tolerances always is one.
    """
    is_again = answers_since_near is not None and answers_since_near < NEAR_ANSWERS
    return not is_near or is_again


def lost(checks: float, *, is_strike: bool) -> float:
    """Return how many checks a wrong answer takes: all with a strike, half with a warning.

    Whoever computes carelessly on purpose is so believed alone no longer before it pays.
    """
    return checks if is_strike else checks / 2


def standing(strikes: Sequence[Struck]) -> Standing:
    """Return what a node is after its newest of `strikes`, in order of time.

    Of those not forgiven, three lies ban it until staff decide; two strikes of any kind within
    `STRIKES_WITHIN` put it in quarantine for `QUARANTINE`. Near misses alone never ban.
    """
    newest = strikes[-1]
    counting = [each for each in strikes if not _is_forgiven(each, newest)]
    if sum(not each.is_near for each in counting) >= LIES_MAX:
        return "banned"
    if len(counting) >= 2 and newest.at - counting[-2].at <= STRIKES_WITHIN:
        return "quarantined"
    return "watched"


def _is_forgiven(strike: Struck, newest: Struck) -> bool:
    """Both are asked for: time alone would be slept through, answers alone hurried through."""
    return (
        newest.at - strike.at > FORGIVEN_AFTER
        and newest.answers - strike.answers >= FORGIVEN_ANSWERS
    )
