"""The other side of the wire for node tests: a small honest platform and a file server.

It speaks the real protocol over the real file broker and real HTTP; nothing of the node is
replaced.
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Exchange, Queue

from workers.protocol import digests, filebroker, messages, routes, signatures

NODE_ID = "n_test"


@dataclass
class Served:
    """One answer of the file server."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: Say how long the body is; without, it ends with the connection.
    has_length: bool = True
    #: Close after this many bytes of the body, promising all of them.
    cut_at: int | None = None
    #: Hold the answer until this is set.
    gate: threading.Event | None = None


class FileServer:
    """`http.server` on a free port; `answers` maps a path to a list of answers in turn."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Served]] = {}
        self.requested: list[str] = []
        self.posted: list[dict[str, Any]] = []
        #: How far this server's clock is ahead of ours, seconds.
        self.ahead_seconds = 0.0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requested.append(self.path)
                listed = server.answers.get(self.path) or [Served(status=404)]
                self._answer(listed.pop(0) if len(listed) > 1 else listed[0])

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                server.posted.append(json.loads(self.rfile.read(length)))
                self.do_GET()

            def _answer(self, served: Served) -> None:
                if served.gate is not None:
                    served.gate.wait(30)
                self.send_response(served.status)
                for name, value in served.headers.items():
                    self.send_header(name, value)
                if served.has_length:
                    self.send_header("Content-Length", str(len(served.body)))
                self.end_headers()
                if not served.has_length or served.cut_at is not None:
                    self.close_connection = True
                with suppress(ConnectionError):  # a client that has read enough
                    self.wfile.write(served.body[: served.cut_at])

            def date_time_string(self, timestamp: float | None = None) -> str:
                now = time.time() if timestamp is None else timestamp
                return super().date_time_string(now + server.ahead_seconds)

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def serve(self, path: str, *answers: Served) -> str:
        """Answer `path` so, the last one for ever; return its URL."""
        self.answers[path] = list(answers)
        return f"{self.url}{path}"


@dataclass(frozen=True)
class Received:
    """A message as the platform's raw consumer sees it, signature checked."""

    kind: str
    sender: str
    body: bytes
    properties: dict[str, Any]
    #: How many reports its message carried; each is received by itself.
    together: int = 1

    @property
    def report(self) -> messages.Report:
        return messages.Report.model_validate_json(self.body)

    @property
    def heartbeat(self) -> messages.Heartbeat:
        return messages.Heartbeat.model_validate_json(self.body)

    @property
    def ack(self) -> messages.AckMessage:
        return messages.AckMessage.model_validate_json(self.body)


class Platform:
    """Declares the broker's parts, signs and sends to nodes, reads what they publish."""

    def __init__(self, folder: Path) -> None:
        self.broker_url = f"filebroker://{folder}"
        self.key = Ed25519PrivateKey.generate()
        self.node_keys: dict[str, str] = {}
        self._sender = Celery("platform_double", set_as_current=False, fixups=[])
        self._sender.conf.update(
            broker_url=self.broker_url,
            broker_transport_options=filebroker.transport_options(self.broker_url),
            task_ignore_result=True,
        )
        self._connection = Connection(
            self.broker_url, transport_options=filebroker.transport_options(self.broker_url)
        )
        self._received: SimpleQueue[Received] = SimpleQueue()
        ingress = Exchange("ingress", type="topic")
        channel = self._connection.default_channel
        for exchange in (Exchange("announce", type="topic"), Exchange("assign", type="direct")):
            exchange(channel).declare()
        queue = Queue("platform.ingress", ingress, "#")
        queue(channel).declare()
        consumer = self._connection.Consumer([queue], on_message=self._take, auto_declare=False)
        consumer.consume()

    def close(self) -> None:
        self._connection.close()
        self._sender.close()

    def add_node(self, node_id: str) -> None:
        """Declare the node's queue as the platform does."""
        channel = self._connection.default_channel
        name = routes.node_queue_name(node_id)
        Queue(name, Exchange("assign", type="direct"), name)(channel).declare()
        Queue(name, Exchange("announce", type="topic"), "detect.*")(channel).declare()

    def enrollment(self, node_id: str, **changes: Any) -> bytes:
        """Return the portal's answer to an enrolment."""
        answer = {
            "id": node_id,
            "broker": {
                "url": self.broker_url,
                "username": routes.broker_username(node_id),
                "password": "",
                "vhost": "/",
                "queue": routes.node_queue_name(node_id),
            },
            "platform_key": signatures.public_text(self.key),
            "models": [],
        }
        return json.dumps(answer | changes).encode()

    def send(
        self,
        task: str,
        message: messages.Message,
        *,
        node_id: str = NODE_ID,
        key: Ed25519PrivateKey | None = None,
        text: str | None = None,
        signature: object = None,
    ) -> None:
        """Sign and send to the node's own queue; `key`, `text`, `signature` make it hostile."""
        text = message.model_dump_json() if text is None else text
        signature = signature or signatures.sign(text.encode(), key=key or self.key)
        self._publish(task, [text, signature], Exchange("assign"), routes.node_queue_name(node_id))

    def announce(self, message: messages.Announcement) -> None:
        text = message.model_dump_json()
        arguments = [text, signatures.sign(text.encode(), key=self.key)]
        key = routes.announcement_key(message.task, message.model_digest)
        self._publish(routes.TASK_ANNOUNCE, arguments, Exchange("announce", type="topic"), key)

    def receive(
        self, is_wanted: Callable[[Received], bool], *, seconds_max: float = 30
    ) -> Received:
        """Return the next wanted message; others are forgotten."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            try:
                found = self._received.get_nowait()
            except Empty:
                self._drain()
                continue
            if is_wanted(found):
                return found
        raise AssertionError(f"nothing of that kind within {seconds_max} s")

    def _drain(self) -> None:
        try:
            self._connection.drain_events(timeout=0.2)
        except TimeoutError:
            return

    def _take(self, message: Any) -> None:
        kind, _, sender = message.delivery_info["routing_key"].partition(".")
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        signature = message.headers["signature"]
        if sender in self.node_keys:
            signatures.verify(body, signature, public_key=self.node_keys[sender])
        properties = {
            "user_id": message.properties.get("user_id"),
            "delivery_mode": message.properties.get("delivery_mode"),
            "content_type": message.content_type,
        }
        message.ack()
        bodies = _reports(body) if kind == "report" else [body]
        for each in bodies:
            self._received.put(Received(kind, sender, each, properties, len(bodies)))

    def _publish(self, task: str, arguments: list[object], exchange: Exchange, key: str) -> None:
        self._sender.send_task(
            task, args=arguments, exchange=exchange, routing_key=key, declare=[], retry=False
        )


def _reports(body: bytes) -> list[bytes]:
    message = messages.read_reports(body)
    if isinstance(message, messages.Report):
        return [body]
    return [report.model_dump_json().encode() for report in message.reports]


def make_assignment(
    *,
    model: messages.ModelReference,
    inputs: list[messages.Input],
    now: datetime | None = None,
    node: str = NODE_ID,
    **changes: Any,
) -> messages.Assignment:
    """Make an assignment good for five minutes; keyword overrides."""
    now = now or datetime.now(UTC)
    fields: dict[str, Any] = {
        "sent_at": now,
        "assignment": str(secrets.randbelow(10**12) + 1),
        "node": node,
        "job": "j_1",
        "nonce": secrets.token_hex(16),
        "model": model,
        "score_floor": 0.25,
        "inputs": inputs,
        "expires_at": now + timedelta(minutes=5),
    }
    return messages.Assignment(**(fields | changes))


def make_announcement(model_digest: str, **changes: Any) -> messages.Announcement:
    fields: dict[str, Any] = {
        "sent_at": datetime.now(UTC),
        "job": f"j_{secrets.token_hex(4)}",
        "task": "detect",
        "model_digest": model_digest,
        "items": 4,
    }
    return messages.Announcement(**(fields | changes))


def make_reference(content: bytes, url: str, /, **changes: Any) -> messages.ModelReference:
    fields: dict[str, Any] = {
        "digest": digests.digest(content),
        "size_bytes": len(content),
        "url": url,
        "kind": "detect",
        "class_ids": [1, 17, 47],
    }
    return messages.ModelReference(**(fields | changes))


def make_input(content: bytes, url: str, /, **changes: Any) -> messages.Input:
    fields: dict[str, Any] = {
        "position": 0,
        "digest": digests.digest(content),
        "size_bytes": len(content),
        "url": url,
    }
    return messages.Input(**(fields | changes))
