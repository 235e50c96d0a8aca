"""The connection on which a node publishes: one message at a time, each confirmed.

RabbitMQ tells a connection once when it is short of memory or disk, and reads nothing more from
it until that is over. Such a connection is kept: thousands of nodes that connect anew help no
broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from kombu import Connection, Exchange, Producer
from kombu.exceptions import ChannelError, OperationalError
from kombu.exceptions import ConnectionError as BrokerAway

from workers.protocol import alarms

logger = logging.getLogger(__name__)

INGRESS = Exchange("ingress", type="topic", no_declare=True)
CONNECT_SECONDS_MAX = 10
CONFIRM_SECONDS_MAX = 10
#: How long an attempt waits for a broker that is short of memory or disk, seconds.
BLOCKED_SECONDS_MAX = 10.0

#: What a broker that is away, refuses or is in distress makes of a publish.
ERRORS = (
    AMQPError,
    MessageNacked,
    ChannelError,
    BrokerAway,
    OperationalError,
    OSError,
    alarms.BrokerBlocked,
)


class Line:
    """Opened by the first message. For one thread."""

    def __init__(
        self, *, connect: Callable[[], Connection], is_closing: Callable[[], bool]
    ) -> None:
        """`is_closing` ends the waiting for a broker in distress."""
        self._connect = connect
        self._is_closing = is_closing
        self._connection: Connection | None = None
        self._channel: Any = None
        self._is_blocked = False
        #: Confirmations under way on the channel would be taken for those of other messages.
        self._is_stale = False

    def publish(
        self, body: bytes, *, routing_key: str, headers: Mapping[str, str], user_id: str
    ) -> None:
        """Publish to `ingress` once and wait for the confirmation.

        Raises:
            alarms.BrokerBlocked: keep the line; the next attempt waits for the broker.
            others of ERRORS: drop it.
        """
        Producer(self._open(), auto_declare=False).publish(
            body,
            exchange=INGRESS,
            routing_key=routing_key,
            content_type="application/json",
            content_encoding="utf-8",
            headers=dict(headers),
            user_id=user_id,
            delivery_mode=2,
            declare=[],
            retry=False,
            confirm_timeout=CONFIRM_SECONDS_MAX,
        )

    def keep_open(self) -> None:
        """Answer AMQP heartbeats, so that the broker does not close an idle connection."""
        connection = self._connection
        if connection is None or not connection.supports_heartbeats:
            return
        try:
            connection.heartbeat_check()
            connection.drain_events(timeout=0.001)
        except TimeoutError:
            pass  # nothing had arrived, as is usual
        except alarms.BrokerBlocked:
            pass  # the next message waits
        except ERRORS as exc:
            logger.info("the connection was lost while idle: %s", exc)
            self.drop()

    def drop(self) -> None:
        """Forget the connection without a word: it may be one that nobody answers on."""
        self._end(lambda connection: connection.collect())

    def close(self) -> None:
        """Say goodbye, unless the broker would not read it."""
        if self._is_blocked:
            self.drop()
        else:
            self._end(lambda connection: connection.close())

    def _end(self, end: Callable[[Connection], object]) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None:
            return
        try:
            end(connection)
        except ERRORS as exc:
            logger.debug("closing failed: %s", exc)

    def _open(self) -> Any:
        """Return a channel to publish on, after waiting for a broker in distress.

        Raises:
            alarms.BrokerBlocked: it is not over yet.
        """
        connection = self._connection
        if connection is None:
            connection = self._connect()
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS_MAX)
            self._is_blocked = self._is_stale = False
            transport: Any = connection.connection
            transport.on_blocked, transport.on_unblocked = self._block, self._unblock
            self._connection = connection
        self._wait_unblocked(connection)
        if self._is_stale:
            if self._channel is not None:
                self._channel.close()
            self._channel, self._is_stale = None, False
        if self._channel is None:
            self._channel = connection.channel()
        return self._channel

    def _block(self, reason: str) -> None:
        self._is_blocked = self._is_stale = True
        alarms.refuse(reason)

    def _unblock(self) -> None:
        self._is_blocked = False

    def _wait_unblocked(self, connection: Connection) -> None:
        deadline = time.monotonic() + BLOCKED_SECONDS_MAX
        while self._is_blocked and time.monotonic() < deadline and not self._is_closing():
            try:
                connection.drain_events(timeout=1.0)
            except TimeoutError:
                connection.heartbeat_check()
        if self._is_blocked:
            raise alarms.BrokerBlocked
