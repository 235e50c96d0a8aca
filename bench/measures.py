"""What is made of measured numbers: ratios by round, percentiles, their spread. Pure."""

from __future__ import annotations

import math
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
