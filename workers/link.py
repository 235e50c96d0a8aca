"""The way to the platform: signed bodies, published one by one and confirmed.

One thread owns one connection, so an ack never waits behind computing and a broken broker
never stops a slot. Acks go first; of several waiting heartbeats only the newest goes.
Reports that have come together while another message was on its way share one message; no
report waits for others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Exchange
from kombu.exceptions import ChannelError, OperationalError
from kombu.exceptions import ConnectionError as BrokerAway

from workers import bundles, config
from workers.config import BrokerLogin
from workers.outbox import Outbox
from workers.protocol import alarms, filebroker, limits, messages, routes, signatures, tls

logger = logging.getLogger(__name__)

INGRESS = Exchange("ingress", type="topic", no_declare=True)
#: Pauses before each further attempt to publish, seconds; then the message is given up
#: (an ack or heartbeat) or left in the outbox (a report).
BACKOFF_SECONDS = (0.2, 1.0, 3.0)
CONFIRM_SECONDS_MAX = 10
CONNECT_SECONDS_MAX = 10
#: AMQP heartbeat that keeps an idle connection open, seconds; checked four times as often.
BROKER_HEARTBEAT_SECONDS = 30
#: How often reports the broker has not confirmed are tried again, seconds.
RESEND_SECONDS = 30
#: How long the platform has for its receipt before a report is sent once more; the pause
#: doubles each time, seconds.
RECEIPT_SECONDS = 30
RECEIPT_SECONDS_MAX = 3600
LETTERS_MAX = 1000
#: How long an attempt waits for a broker that is short of memory or disk, seconds.
BLOCKED_SECONDS_MAX = 10.0

ERRORS = (
    AMQPError,
    MessageNacked,
    ChannelError,
    BrokerAway,
    OperationalError,
    OSError,
    alarms.BrokerBlocked,
)


def transport_options(login: BrokerLogin) -> dict[str, Any]:
    """Return kombu's options for this broker: refusals must reach the publisher."""
    if login.url.startswith(f"{filebroker.SCHEME}:"):
        return filebroker.transport_options(login.url)
    return {"confirm_publish": True, "connect_timeout": CONNECT_SECONDS_MAX}


def connect(login: BrokerLogin) -> Connection:
    """Return an unopened connection for publishing."""
    return Connection(
        config.broker_url(login),
        heartbeat=BROKER_HEARTBEAT_SECONDS,
        connect_timeout=CONNECT_SECONDS_MAX,
        transport_options=transport_options(login),
        ssl=tls.options(login.url),
    )


@dataclass(frozen=True)
class Letter:
    """Something to publish; a report is read from its file at that time."""

    kind: str
    body: bytes | None
    path: Path | None = None


class Link:
    """A publishing thread. Its methods may be called from any thread and do not wait."""

    def __init__(
        self,
        *,
        node_id: str,
        key: Ed25519PrivateKey,
        outbox: Outbox,
        connect: Callable[[], Connection],
        clock: Callable[[], datetime],
    ) -> None:
        self._node_id = node_id
        self._key = key
        self._outbox = outbox
        self._connect = connect
        self._clock = clock
        self._letters: deque[Letter] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_delivering = False
        self._resend_due = 0.0
        #: Confirmed reports without a receipt: the next pause, and when it is over.
        self._again: dict[Path, tuple[float, float]] = {}
        self._connection: Connection | None = None
        self._is_blocked = False
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        #: When the broker last confirmed a message.
        self.contact_at: datetime | None = None
        #: What went wrong last, empty after a success.
        self.trouble = ""

    def start(self) -> None:
        """Begin to publish, with the reports an earlier run could not get confirmed."""
        self._thread.start()

    def send_ack(self, message: messages.AckMessage) -> None:
        """Publish before everything else that waits."""
        self._put(Letter("ack", message.model_dump_json().encode()), is_first=True)

    def send_heartbeat(self, message: messages.Heartbeat) -> None:
        """Publish, and forget an older heartbeat that still waits."""
        self._put(Letter("heartbeat", message.model_dump_json().encode()))

    def send_report(self, message: messages.Report) -> None:
        """Store and publish; the file goes when the platform's receipt has come.

        On a full disk it is published all the same, and waits in memory for a broker that is
        away; the end of the program then loses it.
        """
        try:
            letter = Letter("report", None, self._outbox.put(message))
        except OSError as exc:
            logger.error("a report cannot be stored: %s", exc)  # noqa: TRY400 -- the text says it all
            letter = Letter("report", message.model_dump_json().encode())
        self._put(letter)

    def forget(self, names: Iterable[messages.ReportName]) -> None:
        """Remove reports for which the platform's receipt has come."""
        for name in names:
            path = self._outbox.path_of(name)
            self._outbox.remove(path)
            with self._changed:
                self._again.pop(path, None)

    def flush(self, seconds_max: float) -> bool:
        """Wait until nothing waits to be published; say whether that came to be."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._letters and not self._is_delivering, timeout=seconds_max
            )

    def close(self, seconds_max: float) -> None:
        """Stop publishing; what has no receipt stays in the outbox."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds_max)

    def _put(self, letter: Letter, *, is_first: bool = False) -> None:
        with self._changed:
            if letter.kind == "heartbeat":
                self._letters = deque(old for old in self._letters if old.kind != "heartbeat")
            if len(self._letters) >= LETTERS_MAX:
                logger.warning("too much waits to be published", extra={"kind": letter.kind})
                return  # a report stays in the outbox, the others are void by then
            if is_first:
                self._letters.appendleft(letter)
            else:
                self._letters.append(letter)
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._is_closing:
            self._resend_when_due()
            letters = self._next(BROKER_HEARTBEAT_SECONDS / 4)
            try:
                if letters:
                    self._deliver(letters)
                else:
                    self._keep_open()
            except Exception:  # an entry point: a fault of ours must not silence the node
                logger.exception("publishing failed")
                self._disconnect()
            finally:
                self._done()
        self._disconnect()

    def _next(self, seconds_max: float) -> list[Letter]:
        """Wait for something to send; with a report go all others that wait, up to a limit."""
        with self._changed:
            self._changed.wait_for(
                lambda: bool(self._letters) or self._is_closing, timeout=seconds_max
            )
            if not self._letters or self._is_closing:
                return []
            self._is_delivering = True
            first = self._letters.popleft()
            if first.kind != "report":
                return [first]
            others = [letter for letter in self._letters if letter.kind == "report"]
            together = [first, *others[: limits.BATCH_MAX - 1]]
            gone = {id(letter) for letter in together}
            self._letters = deque(each for each in self._letters if id(each) not in gone)
            return together

    def _done(self) -> None:
        with self._changed:
            self._is_delivering = False
            self._changed.notify_all()

    def _deliver(self, letters: Sequence[Letter]) -> None:
        found = [(letter, self._body(letter)) for letter in letters]
        there = [(letter, body) for letter, body in found if body is not None]
        if letters[0].kind != "report":
            for letter, body in there:
                self._send([letter], body)
            return
        bodies = [body for _, body in there]
        for bundle in bundles.pack(bodies, node_id=self._node_id, now=self._clock()):
            self._send([there[index][0] for index in bundle.members], bundle.body)

    def _body(self, letter: Letter) -> bytes | None:
        return letter.body if letter.path is None else self._outbox.read(letter.path)

    def _send(self, letters: Sequence[Letter], body: bytes) -> None:
        """Publish one message, again after pauses; at last give it up, or keep it for later."""
        kind = letters[0].kind
        for pause_seconds in (*BACKOFF_SECONDS, None):
            try:
                self._publish(kind, body)
            except ERRORS as exc:
                self._note_trouble(kind, exc)
            else:
                self._note_contact(letters)
                return
            if pause_seconds is None or self._wait_closing(pause_seconds):
                break
        self._keep_unstored(letters)

    def _keep_unstored(self, letters: Sequence[Letter]) -> None:
        """Let reports that no disk took wait on in memory; all others are stored, or void."""
        for letter in letters:
            if letter.kind == "report" and letter.path is None:
                self._put(letter)

    def _publish(self, kind: str, body: bytes) -> None:
        """Publish once and wait for the confirmation."""
        if len(body) > limits.MESSAGE_BYTES_MAX:
            raise ValueError(f"a {kind} of {len(body)} bytes")
        if self._connection is None:
            connection = self._connect()
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS_MAX)
            self._watch(connection)
            self._connection = connection
        self._wait_unblocked(self._connection)
        self._connection.Producer(auto_declare=False).publish(
            body,
            exchange=INGRESS,
            routing_key=routes.ingress_key(kind, self._node_id),
            content_type="application/json",
            content_encoding="utf-8",
            headers={signatures.HEADER: signatures.sign(body, key=self._key)},
            user_id=routes.broker_username(self._node_id),
            delivery_mode=2,
            declare=[],
            retry=False,
            confirm_timeout=CONFIRM_SECONDS_MAX,
        )

    def _watch(self, connection: Connection) -> None:
        """Let the broker tell when it is short of memory or disk, and when that is over."""
        self._is_blocked = False
        transport: Any = connection.connection
        transport.on_blocked, transport.on_unblocked = self._block, self._unblock

    def _block(self, reason: str) -> None:
        self._is_blocked = True
        alarms.refuse(reason)

    def _unblock(self) -> None:
        self._is_blocked = False

    def _wait_unblocked(self, connection: Connection) -> None:
        """Keep the connection and wait: thousands of nodes that connect anew help no broker.

        Raises:
            alarms.BrokerBlocked: it is not over yet.
        """
        deadline = time.monotonic() + BLOCKED_SECONDS_MAX
        while self._is_blocked and time.monotonic() < deadline and not self._is_closing:
            try:
                connection.drain_events(timeout=1.0)
            except TimeoutError:
                connection.heartbeat_check()
        if self._is_blocked:
            raise alarms.BrokerBlocked

    def _note_contact(self, letters: Sequence[Letter]) -> None:
        if self.trouble:
            logger.info("the platform can be reached again")
        self.contact_at = self._clock()
        self.trouble = ""
        with self._changed:
            for path in [letter.path for letter in letters if letter.path is not None]:
                pause, _ = self._again.get(path, (float(RECEIPT_SECONDS), 0.0))
                following = min(2 * pause, RECEIPT_SECONDS_MAX)
                self._again[path] = (following, time.monotonic() + pause)

    def _note_trouble(self, kind: str, exc: Exception) -> None:
        self.trouble = f"{type(exc).__name__}: {exc}"[:200]
        logger.warning("the broker did not take a message: %s", self.trouble, extra={"kind": kind})
        if not isinstance(exc, alarms.BrokerBlocked):
            self._disconnect()

    def _keep_open(self) -> None:
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
            self._disconnect()

    def _resend_when_due(self) -> None:
        """Queue what the outbox holds: at the start, and then every 30 seconds."""
        if time.monotonic() < self._resend_due:
            return
        self._resend_due = time.monotonic() + RESEND_SECONDS
        pending = self._outbox.pending()
        now = time.monotonic()
        with self._changed:
            waiting = {letter.path for letter in self._letters}
            self._again = {path: self._again[path] for path in pending if path in self._again}
            waiting |= {path for path, (_, due) in self._again.items() if now < due}
        for path in pending:
            if path not in waiting:
                self._put(Letter("report", None, path))

    def _wait_closing(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closing, timeout=seconds)

    def _disconnect(self) -> None:
        """Drop the connection; one that does not answer any more is not waited for."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close() if self._is_closing and not self._is_blocked else connection.collect()
        except ERRORS as exc:
            logger.debug("closing failed: %s", exc)
