"""The clock of a discrete-event simulation: what happens next, and how chance falls.

Events at one time happen in the order they were entered, and each use of chance has a
stream of its own, so one seed always gives the same history.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any


class Agenda:
    """Events to come, by time. `now` is in seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._entered = 0

    def enter(self, at: float, act: Callable[[Any], None], subject: Any) -> None:
        """Let `act(subject)` happen at that time, which must not be past."""
        assert at >= self.now, "what is past cannot be changed"
        self._entered += 1
        heapq.heappush(self._events, (at, self._entered, act, subject))

    def run(self, *, until: float, is_over: Callable[[], bool] | None = None) -> None:
        """Let everything happen up to and including `until`, or until `is_over()`."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, act, subject = heapq.heappop(events)
            act(subject)
            if is_over is not None and is_over():
                return
        self.now = until


def stream(seed: int, name: str) -> random.Random:
    """Return the stream of chance of that name; seeds and names give unlike streams."""
    return random.Random(f"{seed}:{name}")
