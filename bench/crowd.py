"""Very many light nodes in one process: they acknowledge announcements and do nothing else.

Each has its own connection, broker login and key, as a machine of its own would. One loop
serves all sockets, so that what is measured is the platform and not a thousand threads. The
platform's signature is checked once for each announcement: on a thousand machines that
would take no longer.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import resource
import selectors
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

import amqp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workers.protocol import messages, routes, signatures

#: Until so many nodes have logged in, seconds.
READY_SECONDS = 180
RECEIVE_BYTES = 64 * 1024
#: AMQP 0-9-1, section 4.2.3: type, channel and size of a frame; one byte ends it.
_FRAME = struct.Struct(">BHI")
_HEADER_FRAME, _BODY_FRAME = 2, 3
#: A content header: class and weight, then the size of the body (section 4.2.6.1).
_BODY_SIZE = struct.Struct(">4xQ")


class Deliveries:
    """The bodies in a stream of AMQP frames; methods and properties are passed over."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._body = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came and return the bodies that are complete now."""
        self._read += data
        found = []
        while len(self._read) >= _FRAME.size:
            kind, _, size = _FRAME.unpack_from(self._read)
            end = _FRAME.size + size + 1
            if len(self._read) < end:
                break
            payload = self._read[_FRAME.size : end - 1]
            del self._read[:end]
            if kind == _HEADER_FRAME:
                (self._size,) = _BODY_SIZE.unpack_from(payload)
                self._body = bytearray()
            elif kind == _BODY_FRAME:
                self._body += payload
                if len(self._body) == self._size:
                    found.append(bytes(self._body))
        return found


class Member:
    """One light node."""

    def __init__(self, described: dict[str, Any]) -> None:
        self._id = described["id"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(described["key"]))
        login = described["login"]
        self._connection = amqp.Connection(
            login["url"].removeprefix("amqp://").partition("/")[0],
            userid=login["username"],
            password=login["password"],
            virtual_host=login["vhost"],
            login_method="PLAIN",
            heartbeat=0,
        )
        self._connection.connect()
        self._channel = self._connection.channel()
        self._say("heartbeat", self._heartbeat())
        self._channel.basic_consume(login["queue"], no_ack=True)
        self._deliveries = Deliveries()
        self.socket = self._connection.transport.sock

    def take(self, *, platform_key: str) -> None:
        """Read what came and acknowledge the announcements in it."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the broker closed a node's connection")
        for body in self._deliveries.feed(data):
            job = announced_job(body, platform_key)
            if job:
                self._say("ack", self._ack(job))

    def close(self) -> None:
        """Leave without a word: the process ends."""
        self.socket.close()

    def _ack(self, job: str) -> messages.AckMessage:
        return messages.AckMessage(
            sent_at=datetime.now(UTC), node=self._id, job=job, slots=1, cached_models=[]
        )

    def _heartbeat(self) -> messages.Heartbeat:
        return messages.Heartbeat(
            sent_at=datetime.now(UTC), node=self._id, running=[], slots=1, cached_models=[]
        )

    def _say(self, kind: str, message: messages.Message) -> None:
        body = message.model_dump_json().encode()
        self._channel.basic_publish(
            amqp.Message(
                body,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=2,
                user_id=routes.broker_username(self._id),
                application_headers={signatures.HEADER: signatures.sign(body, key=self._key)},
            ),
            exchange="ingress",
            routing_key=routes.ingress_key(kind, self._id),
        )


@lru_cache(maxsize=4)
def announced_job(body: bytes, platform_key: str) -> str:
    """Return the job that a message of the platform announces; empty when it says another thing.

    Raises:
        signatures.BadSignature.
    """
    arguments, _, _ = json.loads(body)
    text, signature = arguments
    signatures.verify(text.encode(), signature, public_key=platform_key)
    said = json.loads(text)
    return str(said["job"]) if said["kind"] == "announcement" else ""


@contextmanager
def listening(described: Sequence[dict[str, Any]], *, platform_key: str) -> Iterator[int]:
    """Let the described nodes listen in a process of their own; gives its id."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, described, platform_key), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(READY_SECONDS):
            raise SystemExit(f"{len(described)} nodes did not log in in {READY_SECONDS} s.")
        ours.recv()
        assert process.pid is not None
        yield process.pid
    finally:
        ours.close()
        process.join(10)


def _serve(pipe: Connection, described: Sequence[dict[str, Any]], platform_key: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with selectors.DefaultSelector() as selector:
        members = [Member(each) for each in described]
        for member in members:
            selector.register(member.socket, selectors.EVENT_READ, member)
        selector.register(pipe, selectors.EVENT_READ, None)
        pipe.send("ready")
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return  # the pipe was closed: the bench is over
                key.data.take(platform_key=platform_key)
