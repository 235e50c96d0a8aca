"""A broker made of files, so that a demo needs no server: `filebroker:///folder`.

Importing this module registers the kombu transport. It follows RabbitMQ where a
difference would hide a bug: publishing to an unknown exchange and consuming an unknown
queue answer 404, a routing table belongs to the broker and not to the process, a
requeued message goes back to its own queue and place, `multiple` acknowledges all
earlier messages, and a queue's `x-message-ttl` is kept.

It does not check users, permissions, sizes or queue lengths, and a message that was
delivered but not acknowledged is lost when its consumer is killed (not when it closes).
The platform's sweeps rebuild such a message from the database.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, virtual

from workers.protocol import filewatch
from workers.protocol.filequeues import Binding, Exchanges, Queues, message_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kombu import Connection
    from kombu.transport.virtual.exchange import ExchangeType

SCHEME = "filebroker"
#: Pause between two looks into an empty queue where the system tells of no files, seconds.
POLLING_SECONDS = 0.05
#: The same where it does (Linux): only against what it could miss.
WATCHED_SECONDS = 1.0


class NotAFileBroker(ValueError):
    """The URL does not name a folder: `filebroker:///absolute/folder` is expected."""


def transport_options(url: str) -> dict[str, Any]:
    """Return kombu's transport options for a `filebroker:///folder` URL.

    Raises:
        NotAFileBroker: another scheme, or no folder.
    """
    parts = urlsplit(url)
    folder = unquote(parts.path)
    if parts.scheme != SCHEME or not folder.strip("/"):
        raise NotAFileBroker(url)
    return {"folder": folder, "polling_interval": POLLING_SECONDS}


class QoS(virtual.QoS):
    """kombu's, with AMQP's meaning of `multiple`."""

    def ack_up_to(self, delivery_tag: str) -> None:
        """Acknowledge this message and all delivered before it on the channel."""
        delivered = list(self._delivered or ())
        if delivery_tag in delivered:
            for tag in delivered[: delivered.index(delivery_tag) + 1]:
                self.ack(tag)


class Channel(virtual.Channel):
    """An AMQP channel over `Exchanges` and `Queues`. kombu passes flags by keyword."""

    supports_fanout = True
    QoS = QoS

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._watch = connection.watch
        self._exchanges = Exchanges(connection.folder / "exchanges")
        self._queues = Queues(connection.folder / "queues")

    def exchange_declare(  # type: ignore[override]  # flags by keyword
        self, exchange: str, type: str = "direct", *, passive: bool = False, **_: Any
    ) -> None:
        if passive:
            self._require_exchange(exchange)
            return
        with self._exchanges.edit(exchange) as table:
            if table["type"] not in (None, type):
                raise virtual.NotEquivalentError(f"{exchange} is of type {table['type']}")
            table["type"] = type

    def exchange_delete(self, exchange: str, **_: Any) -> None:  # type: ignore[override]
        self._exchanges.delete(exchange)

    def queue_bind(  # type: ignore[override]  # flags by keyword
        self, queue: str, exchange: str, routing_key: str = "", **_: Any
    ) -> None:
        self._require_exchange(exchange)
        self._require_queue(queue)
        self._exchanges.bind(exchange, self._binding(queue, exchange, routing_key))

    def queue_unbind(  # type: ignore[override]  # flags by keyword
        self, queue: str, exchange: str, routing_key: str = "", **_: Any
    ) -> None:
        self._exchanges.unbind(exchange, self._binding(queue, exchange, routing_key))

    def queue_delete(  # type: ignore[override]  # flags by keyword
        self, queue: str, *, if_empty: bool = False, **_: Any
    ) -> None:
        if if_empty and self._queues.size(queue):
            return
        self._exchanges.forget(queue)
        self._queues.delete(queue)

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        if exchange:
            self._require_exchange(exchange)
        super().basic_publish(message, exchange, routing_key, **kwargs)

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> str:
        self._require_queue(queue)
        self._watch(self._queues.folder_of(queue))
        return super().basic_consume(queue, *args, **kwargs)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 -- AMQP's signature
        if multiple and isinstance(self.qos, QoS):
            self.qos.ack_up_to(delivery_tag)
        else:
            super().basic_ack(delivery_tag)

    def get_exchanges(self) -> list[str]:
        return self._exchanges.names()

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        return [(row[0], row[1], row[2]) for row in self._exchanges.read(exchange)["bindings"]]

    def typeof(self, exchange: str, default: str = "direct") -> ExchangeType:
        return self.exchange_types[self._exchanges.read(exchange)["type"] or default]  # type: ignore[return-value]

    def list_bindings(self) -> Iterator[tuple[str, str, str]]:  # type: ignore[override]
        for exchange in self.get_exchanges():
            for routing_key, _, queue in self.get_table(exchange):
                yield queue, exchange, routing_key

    def _get(self, queue: str, *_: Any, **__: Any) -> dict[str, Any]:
        taken = self._queues.take(queue)
        if taken is None:
            raise Empty
        payload: dict[str, Any] = json.loads(taken[1])
        payload["properties"]["delivery_info"].update(queue=queue, file=taken[0])
        return payload

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        self._queues.put(queue, json.dumps(message).encode(), name=message_name())

    def _put_fanout(self, exchange: str, message: dict[str, Any], *_: Any, **__: Any) -> None:
        for _key, _pattern, queue in self.get_table(exchange):
            self._put(queue, message)

    def _restore(self, message: virtual.Message) -> None:
        """Put a delivered message back where it came from, not through its exchange."""
        payload = message.serializable()
        came_from = payload["properties"]["delivery_info"]
        came_from["redelivered"] = True
        self._queues.put(came_from["queue"], json.dumps(payload).encode(), name=came_from["file"])

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._queues.declare(queue, ttl_ms=(kwargs.get("arguments") or {}).get("x-message-ttl"))

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return self._queues.is_declared(queue)

    def _size(self, queue: str) -> int:
        return self._queues.size(queue)

    def _purge(self, queue: str) -> int:
        return self._queues.purge(queue)

    def _binding(self, queue: str, exchange: str, routing_key: str) -> Binding:
        row = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, {})
        return Binding(row[0] or "", row[1] or "", queue)

    def _require_exchange(self, exchange: str) -> None:
        if self._exchanges.read(exchange)["type"] is None:
            raise ChannelError(f"NOT_FOUND - no exchange {exchange!r}", (60, 40), "404")

    def _require_queue(self, queue: str) -> None:
        if not self._queues.is_declared(queue):
            raise ChannelError(f"NOT_FOUND - no queue {queue!r}", (60, 20), "404")


class Transport(virtual.Transport):
    """The broker in one folder, shared by every process that may write there."""

    Channel = Channel
    default_port = 0
    driver_type = SCHEME
    driver_name = SCHEME
    implements = virtual.Transport.implements.extend(
        exchange_type=frozenset({"direct", "topic", "fanout"})
    )

    def __init__(self, client: Connection, **kwargs: Any) -> None:
        options = transport_options(f"{SCHEME}:///{quote(client.virtual_host or '')}")
        options |= client.transport_options or {}
        super().__init__(client, **kwargs)
        self.folder = Path(options["folder"])
        self.polling_interval = options["polling_interval"]
        self._watch: filewatch.Watch | None = None
        self._is_watching = True

    def watch(self, folder: Path) -> None:
        """Be woken by what comes into a queue; where that cannot be, go on polling."""
        if not self._is_watching:
            return
        try:
            self._watch = self._watch or filewatch.Watch()
            self._watch.add(folder)
        except filewatch.Unwatchable:
            self._is_watching = False

    def drain_events(  # type: ignore[override]  # the only option there is
        self,
        connection: Any,  # noqa: ARG002 -- kombu's signature
        timeout: float | None = None,
    ) -> None:
        """Deliver one message, waiting for it.

        Raises:
            TimeoutError: none came in time.
        """
        assert self.cycle is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                self._wait(deadline)
            else:
                return

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._watch is not None:
            self._watch.close()
        self._watch, self._is_watching = None, True

    def _wait(self, deadline: float | None) -> None:
        """Wait until it is worth to look again.

        Raises:
            TimeoutError.
        """
        rest = None if deadline is None else deadline - time.monotonic()
        if rest is not None and rest <= 0:
            raise TimeoutError
        watch = self._watch
        if watch is not None and self._is_watching and watch.is_complete:
            watch.wait(WATCHED_SECONDS if rest is None else min(rest, WATCHED_SECONDS))
        else:
            pause = self.polling_interval or POLLING_SECONDS
            time.sleep(pause if rest is None else min(rest, pause))

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """No host: kombu would warn at each connection that it made one up."""
        return {"port": self.default_port}

    def driver_version(self) -> str:
        return "1"


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
