"""A node that does exactly what a test tells it: right, wrong, twice, or nothing.

It speaks the public protocol through the real broker with its own key and login, as any
stranger's program could.
"""

from __future__ import annotations

import itertools
import queue
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Consumer, Exchange, Queue

from workers import link
from workers.config import BrokerLogin
from workers.protocol import messages, routes, signatures

INGRESS = Exchange("ingress", type="topic", no_declare=True)
_names = itertools.count(1)

#: What honest puppets find on every picture: class, score, x, y, width, height.
FOUND = [(1, 0.9, 10.0, 5.0, 30.0, 40.0)]


@dataclass
class Puppet:
    """One node's identity and connection."""

    node_id: str
    key: Ed25519PrivateKey
    login: dict[str, Any]
    _inbox: queue.Queue[tuple[str, str]] = field(default_factory=queue.Queue)
    #: What came with the message last taken.
    _waiting: list[str] = field(default_factory=list)

    @classmethod
    def enroll(cls, *, url: str, token: str) -> Puppet:
        key = Ed25519PrivateKey.generate()
        answer = httpx.post(
            f"{url}{routes.ENROLL_PATH}",
            json={
                "token": token,
                "name": f"puppet {next(_names)}",
                "public_key": signatures.public_text(key),
                "hardware": {"cores": 1, "memory_bytes": 2**30},
            },
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return cls(node_id=body["id"], key=key, login=body["broker"])

    def connect(self) -> Connection:
        return link.connect(BrokerLogin(**self.login))

    def publish(
        self, kind: str, body: bytes, *, signature: str | None = "sign", **options: Any
    ) -> None:
        """Publish a body; keyword options replace what an honest node would say."""
        if signature == "sign":
            signature = signatures.sign(body, key=self.key)
        properties = {
            "routing_key": routes.ingress_key(kind, self.node_id),
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "user_id": routes.broker_username(self.node_id),
            "headers": {} if signature is None else {signatures.HEADER: signature},
            "delivery_mode": 2,
            **options,
        }
        with self.connect() as connection:
            connection.Producer(auto_declare=False).publish(
                body, exchange=INGRESS, declare=[], **properties
            )

    def send(self, kind: str, message: messages.Message) -> bytes:
        """Publish a message as an honest node would; return its bytes."""
        body = message.model_dump_json().encode()
        self.publish(kind, body)
        return body

    def send_together(self, *reports: messages.Report) -> bytes:
        """Publish several reports under one signature."""
        together = messages.Reports(
            sent_at=datetime.now(UTC), node=self.node_id, reports=list(reports)
        )
        return self.send("report", together)

    def beat(self, *running: str, slots: int = 1, reason: str = "") -> None:
        """Send a sign of life that names these assignments."""
        message = messages.Heartbeat(
            sent_at=datetime.now(UTC),
            node=self.node_id,
            running=list(running),
            slots=slots,
            reason=reason,
            cached_models=[],
        )
        self.send("heartbeat", message)

    def ack(self, job_id: str, *, slots: int = 1) -> None:
        """Say that this node takes part."""
        message = messages.AckMessage(
            sent_at=datetime.now(UTC),
            node=self.node_id,
            job=job_id,
            slots=slots,
            cached_models=[],
        )
        self.send("ack", message)

    def next(self, model: type[messages.Message], *, seconds: float = 45) -> Any:
        """Wait for the next message of this type in the node's queue; skip others."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self._waiting.pop(0) if self._waiting else self._read(deadline)
            if '"kind":"assignments"' in text:
                several = messages.Assignments.model_validate_json(text)
                self._waiting += [each.model_dump_json() for each in several.assignments]
                continue
            if f'"kind":"{model.model_fields["kind"].default}"' in text:
                return model.model_validate_json(text)
        raise AssertionError(f"no {model.__name__} within {seconds} s")

    def _read(self, deadline: float) -> str:
        """Take one Celery message off the queue; its first argument is the JSON text."""
        got: list[str] = []
        mine = Queue(self.login["queue"], no_declare=True)
        with self.connect() as connection, connection.channel() as channel:
            channel.basic_qos(0, 1, False)

            def take(message: Any) -> None:
                got.append(message.decode()[0][0])
                message.ack()

            with Consumer(channel, [mine], on_message=take, auto_declare=False, accept=["json"]):
                while not got and time.monotonic() < deadline:
                    try:
                        connection.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue
        # One more may have come while the consumer was cancelled.
        self._waiting += got[1:]
        return got[0] if got else ""

    def report(
        self, assignment: messages.Assignment, *, found: Sequence[Any] = FOUND, **changes: Any
    ) -> messages.Report:
        """Build the report of an honest node that finds `found` on each picture (64 x 48)."""
        fields = {
            "sent_at": datetime.now(UTC),
            "node": self.node_id,
            "assignment": assignment.assignment,
            "nonce": assignment.nonce,
            "model_digest": assignment.model.digest,
            "status": "done",
            "answers": [
                messages.Answer(position=each.position, width=64, height=48, detections=list(found))
                for each in assignment.inputs
            ],
            "compute_ms": 5,
        }
        return messages.Report(**{**fields, **changes})

    def work(self, job_id: str, **changes: Any) -> messages.Assignment:
        """Ack, take one assignment, begin it and report it, honestly but for `changes`."""
        self.ack(job_id)
        assignment = self.next(messages.Assignment)
        self.beat(assignment.assignment)
        self.send("report", self.report(assignment, **changes))
        return assignment


def nonce() -> str:
    """Return a nonce nobody was given."""
    return secrets.token_hex(16)
