"""The raw consumer of what nodes wrote: batches in, one service call, one ack.

Not a Celery worker: Celery obeys a message's envelope (chains, callbacks, task names) before
anybody can check who sent it, and one message without a content type ends it. Not a kombu
consumer either: kombu inflates what says it is compressed. This process reads bytes and
headers, nothing more, and survives those (`tasks.envelopes`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import Event
from typing import Any, Protocol

from kombu import Connection

from tasks import envelopes, queues
from tasks.arrivals import Arrival
from workers.protocol import signatures

logger = logging.getLogger(__name__)

#: Messages in one batch: the knee of the measured curve; more only adds delay.
BATCH_MAX = 200
#: How long an empty socket is waited on before a batch is flushed, seconds.
FLUSH_SECONDS = 0.002
#: How long an idle read blocks, seconds; bounds the reaction to a stop.
IDLE_SECONDS = 0.5
RECONNECT_SECONDS_MAX = 10


class Handler(Protocol):
    """Takes a batch; `more_follow` when the next one is there already."""

    def __call__(self, batch: Sequence[Arrival], *, more_follow: bool) -> object: ...


class Ingest:
    """Reads platform.acks, platform.heartbeats and platform.reports until told to stop."""

    def __init__(self, *, connection: Connection, handle: Handler, stop: Event) -> None:
        self._connection = connection
        self._handle = handle
        self._stop = stop
        self._batch: list[Any] = []

    def run(self) -> None:
        """Consume until `stop` is set; reconnect when the broker goes away.

        An exception of the handler ends the process: nothing of that batch was
        acknowledged, all of it is delivered again.
        """
        envelopes.guard()
        failures = 0
        while not self._stop.is_set():
            try:
                self._consume()
                failures = 0
            except self._connection.recoverable_connection_errors as exc:
                failures += 1
                pause = min(RECONNECT_SECONDS_MAX, 0.2 * 2**failures)
                logger.warning("broker away (%s), again in %.1f s", type(exc).__name__, pause)
                self._stop.wait(pause)

    def _consume(self) -> None:
        channel: Any
        self._batch = []  # tags of an earlier connection are void
        with self._connection.clone() as connection, connection.channel() as channel:
            _limit_prefetch(channel)
            # py-amqp would decode a body by whatever codec the sender names.
            channel.auto_decode = False
            for queue in queues.INGRESS_QUEUES:
                channel.basic_consume(
                    queue=queue.name,
                    no_ack=False,
                    callback=self._collect,
                    consumer_tag=queue.name,
                )
            while not self._stop.is_set():
                self._read(connection)

    def _collect(self, message: Any) -> None:
        self._batch.append(message)

    def _read(self, connection: Connection) -> None:
        """Read one message; flush when none is there, or when a full batch has a follower."""
        try:
            connection.drain_events(timeout=FLUSH_SECONDS if self._batch else IDLE_SECONDS)
        except TimeoutError:
            self._flush(more_follow=False)
            connection.heartbeat_check()
        if len(self._batch) > BATCH_MAX:
            self._flush(more_follow=True)

    def _flush(self, *, more_follow: bool) -> None:
        batch, self._batch = self._batch[:BATCH_MAX], self._batch[BATCH_MAX:]
        if not batch:
            return
        started = time.perf_counter()
        self._handle([_arrival(message) for message in batch], more_follow=more_follow)
        batch[-1].channel.basic_ack(_tag(batch[-1]), multiple=True)
        logger.debug("batch of %d in %.3f s", len(batch), time.perf_counter() - started)


def _arrival(message: Any) -> Arrival:
    """Take what is needed from py-amqp's message, or from the file broker's (kombu's)."""
    headers = message.headers or {}
    body = message.body
    return Arrival(
        routing_key=str(message.delivery_info.get("routing_key", "")),
        user_id=message.properties.get("user_id"),
        content_type=getattr(message, "content_type", None),
        content_encoding=getattr(message, "content_encoding", None),
        signature=headers.get(signatures.HEADER),
        header_names=frozenset(str(name) for name in headers),
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def _tag(message: Any) -> Any:
    tag = message.delivery_info.get("delivery_tag")
    return message.delivery_tag if tag is None else tag


def _limit_prefetch(channel: Any) -> None:
    """Let twice a batch wait here: one being handled, one being read."""
    channel.basic_qos(0, 2 * BATCH_MAX, False)  # noqa: FBT003  # AMQP's own signature
