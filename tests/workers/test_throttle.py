"""Downloads stay within the operator's speed, all of them together."""

from __future__ import annotations

import time

import pytest

from tests.workers.platform_double import Served
from workers import transfer
from workers.protocol import digests
from workers.throttle import Throttle

CONTENT = b"x" * (96 * 1024)


def test_a_limited_download_takes_its_time_and_an_unlimited_one_does_not(server):
    url = server.serve("/file", Served(CONTENT))
    throttle = Throttle()
    client = transfer.make_client(throttle)

    def seconds() -> float:
        started = time.monotonic()
        named = {"digest": digests.digest(CONTENT), "size_bytes": len(CONTENT)}
        assert transfer.fetch(url, client=client, **named) == CONTENT
        return time.monotonic() - started

    free = seconds()
    throttle.set_rate(64)
    limited = seconds()
    client.close()

    assert free < 0.4
    # 96 KiB at 64 KiB/s is 1.5 s; one second was saved up.
    assert limited == pytest.approx(0.5, abs=0.3)
