"""The policy's terms: how often is checked, how long may be doubted, what follows a fault. Pure.

Here are the numbers and the rules made of them; the rest of `verification` carries them out
in the database and `bench/fleet.py` in a simulation. Sources: docs/verification.md.
"""

from __future__ import annotations

from collections.abc import Sequence
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
#: Strikes within this time count together.
STRIKES_WITHIN: Final = timedelta(days=30)
QUARANTINE: Final = timedelta(days=7)

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


def standing(strikes: Sequence[datetime]) -> Standing:
    """Return what a node is after its newest of `strikes`, in order of time.

    The third strike ever bans it until staff decide; a second within `STRIKES_WITHIN` of the
    one before puts it in quarantine for `QUARANTINE`.
    """
    if len(strikes) >= 3:
        return "banned"
    if len(strikes) == 2 and strikes[1] - strikes[0] <= STRIKES_WITHIN:
        return "quarantined"
    return "watched"
