"""How often accepted answers are wrong, estimated from the audits. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: Probability that the interval holds the true rate.
CONFIDENCE: Final = 0.95
#: Halvings of the search interval: finer than a double can tell.
_STEPS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An error rate, 0..1, with its interval."""

    audits: int
    failed: int
    rate: float
    lower: float
    upper: float


def of_audits(*, audits: int, failed: int) -> Estimate | None:
    """Return the exact interval of Clopper and Pearson (1934); None without audits.

    Audits are drawn by lot from all accepted single answers, so the rate is unbiased.

    Raises:
        ValueError: more failed than were made.
    """
    if not 0 <= failed <= audits:
        raise ValueError("failed audits are a part of the audits")
    if audits == 0:
        return None
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        audits=audits,
        failed=failed,
        rate=failed / audits,
        lower=0.0 if failed == 0 else _solve(audits, failed - 1, 1 - tail),
        upper=1.0 if failed == audits else _solve(audits, failed, tail),
    )


def _solve(trials: int, successes: int, probability: float) -> float:
    """Return the rate at which at most `successes` are seen with `probability`."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(trials, successes, middle) > probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_most(trials: int, successes: int, rate: float) -> float:
    """Return the probability of at most `successes` in `trials`, for 0 < rate < 1."""
    yes, no = math.log(rate), math.log1p(-rate)
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + count * yes
            + (trials - count) * no
        )
        for count in range(successes + 1)
    )
