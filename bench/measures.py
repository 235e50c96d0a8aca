"""What is made of measured numbers: ratios by round, percentiles, their spread. Pure."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], *, share: float) -> float:
    """Return the smallest value that at least `share` (0..1) of all values do not exceed.

    The nearest rank: always one of the values, never between two.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return ours over the baseline, round by round."""
    return [each / base for each, base in zip(ours, baseline, strict=True)]


def spread(values: Sequence[float], *, digits: int = 3) -> dict[str, float]:
    """Return the least, the middle and the greatest value, and how many there are."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
        "rounds": len(values),
    }


#: Means of values drawn again, from which an interval is read.
RESAMPLES = 4000


def interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the mean: percentiles of means of values drawn again.

    Efron 1979. The same values always give the same interval. Of few values it is too narrow
    rather than too wide; of one it has no width.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    chance = random.Random(0)
    means = sorted(
        statistics.fmean(chance.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    tail = (1 - confidence) / 2
    return means[int(tail * RESAMPLES)], means[math.ceil((1 - tail) * RESAMPLES) - 1]


def ideal_seconds(
    *, chunks: int, chunk_seconds: float, slowness: Sequence[float], lost_at: Sequence[float | None]
) -> float:
    """Return how long nodes would take that always knew what to do next.

    Node i takes `slowness[i]` times as long as `chunk_seconds` for a chunk and is gone after
    `lost_at[i]` seconds (None: never). Work may be cut as finely as one likes: no schedule
    is faster.

    Raises:
        ValueError: all nodes are lost before the end.
    """
    rates = [1 / (chunk_seconds * factor) for factor in slowness]
    done, at = 0.0, 0.0
    for end in [*sorted(time for time in lost_at if time is not None), math.inf]:
        rate = sum(
            each for each, lost in zip(rates, lost_at, strict=True) if lost is None or lost >= end
        )
        if rate > 0 and done + rate * (end - at) >= chunks:
            return at + (chunks - done) / rate
        done += rate * (end - at) if rate > 0 else 0.0
        at = end
    raise ValueError("nobody is left to finish the work")
