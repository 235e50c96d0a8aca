"""How long a picture takes on a node, learnt from its accepted answers. Pure.

See Note [A node's pace].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

#: Weight of the newest answer, and how far at most it may lie from what is known.
WEIGHT: Final = 0.25
STEP_MAX: Final = 2.0
#: Of the time between assignment and answer this much may be messages and downloads, and the
#: rest at most so many times the computing: work waits behind the work before it.
UNSEEN_MS: Final = 1000.0
UNSEEN_FACTOR: Final = 4.0
#: No picture takes less, milliseconds.
IMAGE_MS_MIN: Final = 1.0


def follow(known: float | None, said: float, *, seen_least: float = 0.0) -> float:
    """Return the milliseconds a picture takes after one more answer.

    `known`: before it, None at first; `said`: by the node; `seen_least`: see `of_answer`.
    """
    if known is None:
        return max(IMAGE_MS_MIN, said)
    bounded = min(max(said, seen_least, known / STEP_MAX), known * STEP_MAX)
    return max(IMAGE_MS_MIN, known + WEIGHT * (bounded - known))


def follow_all(known: float | None, answers: Iterable[tuple[float, float]]) -> float | None:
    """Return the same after several answers, in order, each as `of_answer` gives it."""
    for said, seen_least in answers:
        known = follow(known, said, seen_least=seen_least)
    return known


def of_answer(*, compute_ms: int, wall_ms: float, images: int) -> tuple[float, float]:
    """Return what a node says a picture took, and the least it can have taken, milliseconds.

    `compute_ms`: by the node's clock; `wall_ms`: from assignment to answer, by ours;
    `images`: pictures shown. Nobody computes longer than the answer took.
    """
    said = min(compute_ms, wall_ms) / images
    least = max(0.0, wall_ms - UNSEEN_MS) / UNSEEN_FACTOR / images
    return said, least


def quantile(paces: Sequence[float], *, share: float) -> float | None:
    """Return the pace that `share` of them keep, nearest rank; None of none."""
    if not paces:
        return None
    ranked = sorted(paces)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


# Note [A node's pace]
# ~~~~~~~~~~~~~~~~~~~~
# A node's own word is the best figure there is (our clock sees downloads and waiting as well),
# and worth little to lie about. Only accepted answers are looked at. One that claims to be fast
# is held to our clock: from its second answer on a picture counts as taking at least a quarter
# of the time that passed, less a second; one answer moves the pace by a quarter upwards or an
# eighth downwards, so one lie, or one slow download, changes little. What a fast pace brings is
# bounded as well: `matching.SCORE_SPEED`, less than having the model at hand, and first
# choice of work that is late, where being late again shows at once. It opens no gate. One that
# claims to be slow gets less and earns less.
