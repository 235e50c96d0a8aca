"""Inputs on their way to the slot that computes them, always a little ahead of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import httpx

from workers import transfer
from workers.protocol import messages

#: Pictures fetched ahead of the one being computed, so that the network costs no time.
AHEAD_MAX = 2


@dataclass
class Inputs:
    """Downloads of assignments' inputs. Safe for threads.

    Of the assignments that wait for a slot the newest has its first pictures here; more
    would only fill the memory.
    """

    client: httpx.Client
    downloads: Executor
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _expected: str = ""
    _begun: list[Future[bytes]] = field(default_factory=list, repr=False)

    def expect(self, assignment: messages.Assignment) -> None:
        """Begin to fetch the first pictures of an assignment that has to wait."""
        begun = [self._begin(each) for each in assignment.inputs[: AHEAD_MAX + 1]]
        with self._lock:
            given_up, self._begun = self._begun, begun
            self._expected = assignment.assignment
        _cancel(given_up)

    def fetch(self, assignment: messages.Assignment) -> Iterator[tuple[messages.Input, bytes]]:
        """Yield each input with its bytes, in order.

        Raises:
            transfer.TransferFailed.
        """
        pending = self._take(assignment.assignment)
        try:
            for place, each in enumerate(assignment.inputs):
                wanted = assignment.inputs[place : place + AHEAD_MAX + 1]
                pending += [self._begin(one) for one in wanted[len(pending) :]]
                yield each, pending.pop(0).result()
        finally:
            _cancel(pending)

    def _take(self, name: str) -> list[Future[bytes]]:
        with self._lock:
            if name != self._expected:
                return []
            begun, self._begun, self._expected = self._begun, [], ""
        return begun

    def _begin(self, each: messages.Input) -> Future[bytes]:
        return self.downloads.submit(
            transfer.fetch,
            each.url,
            digest=each.digest,
            size_bytes=each.size_bytes,
            client=self.client,
        )


def _cancel(futures: list[Future[bytes]]) -> None:
    for future in futures:
        future.cancel()
