"""How much each node sends, counted before anything of it is looked at.

RabbitMQ limits connections and sizes but no rate, and checking a signature costs more than
sending it. So ingest counts by the delivered routing key, which the broker let only its own
node use, and a node beyond its share is dropped unread and cut off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: So many bytes of body count as one more message.
UNIT_BYTES = 16 * 1024
#: A node over its share is named this often, so that the rest of its flood costs nothing.
TELL_SECONDS = 1.0
#: Nodes remembered at one time; then those that have their full share again are forgotten.
NODES_MAX = 10_000


@dataclass
class _Share:
    left: float
    at_seconds: float
    #: Used up; nothing more is admitted until half of it is there again.
    is_over: bool = False


class Meter:
    """Token buckets, one for each node: `burst` at once, `rate` a second for long.

    Whoever uses up a share waits until half of it is there again, so that a flood is
    dropped whole and does not drip.

    Each ingest process counts for itself, so with n of them a node may send n times as much.
    """

    def __init__(
        self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self._told_at: dict[str, float] = {}

    def admits(self, node_id: str, *, size_bytes: int) -> bool:
        """Count one message; False when the node has used up its share."""
        now_seconds = self._clock()
        share = self._shares.get(node_id)
        if share is None:
            self._forget_full(now_seconds)
            share = self._shares[node_id] = _Share(self._burst, now_seconds)
        share.left = min(self._burst, self._level(share, now_seconds))
        share.at_seconds = now_seconds
        cost = 1 + size_bytes // UNIT_BYTES
        share.is_over = share.left < (self._burst / 2 if share.is_over else cost)
        if share.is_over:
            return False
        share.left -= cost
        return True

    def newly_over(self, node_ids: Iterable[str]) -> list[str]:
        """Return those of the nodes over their share that were not named for a while."""
        now_seconds = self._clock()
        self._told_at = {
            node_id: at_seconds
            for node_id, at_seconds in self._told_at.items()
            if now_seconds - at_seconds < TELL_SECONDS
        }
        new = sorted(set(node_ids) - self._told_at.keys())
        self._told_at.update(dict.fromkeys(new, now_seconds))
        return new

    def _level(self, share: _Share, now_seconds: float) -> float:
        return share.left + (now_seconds - share.at_seconds) * self._rate

    def _forget_full(self, now_seconds: float) -> None:
        """Make room; a share that is full again says nothing."""
        if len(self._shares) < NODES_MAX:
            return
        self._shares = {
            node_id: share
            for node_id, share in self._shares.items()
            if self._level(share, now_seconds) < self._burst
        }
