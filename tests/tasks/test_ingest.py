"""Messages become batches: all that is there, at most 200, and none left lying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.ingest import BATCH_MAX, Ingest


class ScriptedBroker:
    """A connection and channel whose messages, and silences (None), come as scripted."""

    recoverable_connection_errors = (ConnectionError,)

    def __init__(self, script: list[bytes | None]) -> None:
        self.script = script
        self.stop = Event()
        self.acknowledged: list[int] = []
        self.tag = 0

    @contextmanager
    def clone(self) -> Iterator[ScriptedBroker]:
        yield self

    channel = clone

    def basic_qos(self, *_: object) -> None:
        """Take any limit."""

    def basic_consume(self, *, callback: Any, **_: object) -> None:
        self.deliver = callback

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        assert multiple
        self.acknowledged.append(tag)

    def heartbeat_check(self) -> None:
        """Have nothing to send."""

    def drain_events(self, *, timeout: float) -> None:
        if not self.script:
            self.stop.set()
            raise TimeoutError
        body = self.script.pop(0)
        if body is None:
            raise TimeoutError
        self.tag += 1
        self.deliver(
            SimpleNamespace(
                headers={},
                body=body,
                properties={},
                delivery_info={"routing_key": "ack.n", "delivery_tag": self.tag},
                channel=self,
            )
        )


@pytest.mark.parametrize(
    ("script", "batches", "acknowledged"),
    [
        ([b"1", b"2", None, b"3"], [(2, False), (1, False)], [2, 3]),
        ([b"1"] * BATCH_MAX, [(BATCH_MAX, False)], [BATCH_MAX]),
        (
            [b"1"] * (2 * BATCH_MAX + 1),
            [(BATCH_MAX, True), (BATCH_MAX, True), (1, False)],
            [BATCH_MAX, 2 * BATCH_MAX, 2 * BATCH_MAX + 1],
        ),
    ],
    ids=["a silence ends a batch", "exactly full", "more than two"],
)
def test_a_batch_knows_whether_another_one_is_there(script, batches, acknowledged):
    broker = ScriptedBroker(script)
    taken: list[tuple[int, bool]] = []

    def take(batch: Any, *, more_follow: bool) -> None:
        taken.append((len(batch), more_follow))

    Ingest(connection=broker, handle=take, stop=broker.stop).run()

    assert taken == batches
    assert broker.acknowledged == acknowledged
