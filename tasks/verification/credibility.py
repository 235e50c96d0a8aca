"""How far unchecked answers can be believed. Pure.

Sarmenta, Sabotage-tolerance mechanisms for volunteer computing systems (2002): a node that
passed k checks since its last strike gives a right answer with at least the credibility
`c = 1 - f / ((1 - f) * e * k)`, where f is the assumed share of bad nodes. Answers to one
chunk form disjoint groups; Bayes' rule says how probable it is that a group is the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: Assumed share of bad nodes.
BAD_SHARE: Final = 0.05
#: No node is believed more than this, so that odds stay finite.
MOST: Final = 1 - 1e-9
#: A check passed counts this many tenths; agreeing on nothing found, which a node that looks
#: at nothing gets right as well, counts one.
CHECK_TENTHS: Final = 10
EMPTY_CHECK_TENTHS: Final = 1


def of_checks(checks: float) -> float:
    """Return the credibility of a node that passed `checks` since its last strike, below 1.

    Never less than 1 - BAD_SHARE: the bound says nothing for the first checks. Never falls
    with more checks.
    """
    fresh = 1 - BAD_SHARE
    if checks <= 0:
        return fresh
    return min(max(fresh, 1 - BAD_SHARE / (fresh * math.e * checks)), MOST)


def of_groups(groups: Sequence[Sequence[float]]) -> list[float]:
    """Return the credibility of each of several disjoint groups of answers to one chunk.

    `groups` hold the credibilities of their members. A group is right when its members are
    good and those of all others bad; all of them may be bad as well. Exactly the same in any
    order of groups and members: a chunk must not wait because sums were rounded otherwise.
    Sums to at most 1.
    """
    # Odds against everybody being bad: a group's weight is the product of its members' odds.
    weights = [
        math.prod(sorted(c / (1 - c) for c in members)) if members else 0.0 for members in groups
    ]
    total = math.fsum([*weights, 1.0])
    return [weight / total for weight in weights]
