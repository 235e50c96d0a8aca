"""How a job ends, by the rules of `tasks.chunking` and `tasks.hedging`: numbers, not rows. Pure.

Towards a job's end chunks become smaller, and what is late goes to a second machine. The
platform's own functions look at rows and pictures, one by one; a test holds these to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Of a whole chunk's 15 pictures, the last ones hold 5 at least.
LAST_SHARE_MIN: Final = 1 / 3
#: Chunks left for each machine below which they become smaller.
LAST_PER_MACHINE: Final = 2
#: Late is what takes longer than this times what three quarters of the answers took, for as
#: much work.
LATE_FROM: Final = 1.5
#: Answers remembered to judge what is late, and the fewest.
ANSWERS_MAX: Final = 200
ANSWERS_MIN: Final = 4
#: Shares of the running work that may be hedges: while there is work to give out, and then.
SHARE_MAX: Final = 0.05
SHARE_AT_END_MAX: Final = 0.1


def share_of_next(*, left: float, machines: int) -> float:
    """Return how large the next chunk is, of a whole one, with work for `left` whole ones."""
    return max(LAST_SHARE_MIN, min(1.0, left / (max(1, machines) * LAST_PER_MACHINE)))


def late_from(paces: Sequence[float]) -> float | None:
    """Return from which pace work is late; None while nobody knows what is usual.

    `paces`: seconds that answers took, for each second of work in them.
    """
    if len(paces) < ANSWERS_MIN:
        return None
    return LATE_FROM * sorted(paces)[(3 * len(paces) - 1) // 4]


def budget(*, running: int, hedges: int, is_at_end: bool) -> int:
    """Return how many more hedges may be given out."""
    share = SHARE_AT_END_MAX if is_at_end else SHARE_MAX
    return max(0, max(1, int(share * running)) - hedges)
