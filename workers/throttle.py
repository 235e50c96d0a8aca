"""Downloads no faster than the operator allows, all of them together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx

from workers.protocol import limits

#: Speed saved up while nothing is downloaded, seconds.
BURST_SECONDS = 1.0


class Throttle:
    """A shared budget of bytes per second; None is no limit. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes_per_second: float | None = None
        self._free_at = 0.0

    def set_rate(self, kib_per_second: int | None) -> None:
        """Change the speed; downloads under way follow."""
        with self._lock:
            rate = None if kib_per_second is None else float(kib_per_second * limits.KIB)
            self._bytes_per_second = rate

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may have come."""
        with self._lock:
            if self._bytes_per_second is None:
                return
            now = time.monotonic()
            self._free_at = max(self._free_at, now - BURST_SECONDS)
            self._free_at += size_bytes / self._bytes_per_second
            wait_seconds = self._free_at - now
        if wait_seconds > 0:
            time.sleep(wait_seconds)


class ThrottledTransport(httpx.HTTPTransport):
    """HTTP whose answers are read through a throttle."""

    def __init__(self, throttle: Throttle, *, connections: httpx.Limits) -> None:
        super().__init__(limits=connections)
        self._throttle = throttle

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Throttled(response.stream, self._throttle)
        return response


class _Throttled(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, throttle: Throttle) -> None:
        self._stream = stream
        self._throttle = throttle

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._throttle.take(len(part))
            yield part

    def close(self) -> None:
        self._stream.close()
