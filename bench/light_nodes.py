"""Light nodes: they speak the public protocol and answer at once, computing nothing.

`python -m bench.light_nodes FILE`: FILE describes them as JSON (id, key, login). Each has its
own connection, login and key, checks the platform's signature, and signs what it says. It
prints "ready" when all listen, and ends when its stdin closes. A job's answer is the same on
all of them: nothing found, or one object at a fixed place.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Consumer, Exchange, Producer, Queue

from workers.protocol import limits, messages, routes, signatures

INGRESS = Exchange("ingress", type="topic", no_declare=True)
#: What everyone finds on every picture: class, score, box.
FOUND = [[1, 0.9, 8.0, 8.0, 24.0, 24.0]]
#: Seconds between two signs of life.
BEAT_SECONDS = 10.0


class LightNode(threading.Thread):
    """One node: acknowledges every announcement and answers every assignment at once."""

    def __init__(self, described: dict[str, Any], *, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._id = described["id"]
        self._login = described["login"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(described["key"]))
        self._slots = described.get("slots", 1)
        self._platform_key = described.get("platform_key")
        self._size = described.get("size", [48, 48])
        self._stop_all = stop
        self._beat_at = 0.0
        self.is_ready = threading.Event()

    def run(self) -> None:
        """Listen until told to stop."""
        login = self._login
        address = login["url"].removeprefix("amqp://").partition("/")[0]
        url = f"amqp://{login['username']}:{login['password']}@{address}/{login['vhost']}"
        inbox = Queue(login["queue"], no_declare=True)
        with Connection(url) as connection, connection.channel() as channel:
            self._producer = Producer(channel, auto_declare=False)
            self._beat()
            with Consumer(channel, [inbox], on_message=self._take, auto_declare=False, no_ack=True):
                self.is_ready.set()
                while not self._stop_all.is_set():
                    try:
                        connection.drain_events(timeout=BEAT_SECONDS)
                    except TimeoutError:
                        self._beat()

    def _take(self, message: Any) -> None:
        arguments, _, _ = json.loads(message.body)
        text, signature = arguments[0], arguments[1]
        if self._platform_key:
            signatures.verify(text.encode(), signature, public_key=self._platform_key)
        body = json.loads(text)
        match body["kind"]:
            case "announcement":
                self._acknowledge(body["job"])
            case "assignment":
                self._answer([body])
            case "assignments":
                self._answer(body["assignments"])
            case _:
                pass

    def _acknowledge(self, job: str) -> None:
        ack = messages.AckMessage(
            sent_at=datetime.now(UTC), node=self._id, job=job, slots=self._slots, cached_models=[]
        )
        self._publish("ack", ack.model_dump_json())

    def _answer(self, assignments: list[dict[str, Any]]) -> None:
        reports = [
            {
                "v": 1,
                "kind": "report",
                "sent_at": datetime.now(UTC).isoformat(),
                "node": self._id,
                "assignment": each["assignment"],
                "nonce": each["nonce"],
                "model_digest": each["model"]["digest"],
                "status": "done",
                "answers": [
                    {
                        "position": shown["position"],
                        "width": self._size[0],
                        "height": self._size[1],
                        "detections": FOUND,
                    }
                    for shown in each["inputs"]
                ],
                "compute_ms": 1,
            }
            for each in assignments
        ]
        batch = {
            "v": 1,
            "kind": "reports",
            "sent_at": datetime.now(UTC).isoformat(),
            "node": self._id,
            "reports": reports,
        }
        text = json.dumps(batch)
        if len(text) <= limits.MESSAGE_BYTES_MAX:
            self._publish("report", text)
            return
        for report in reports:
            self._publish("report", json.dumps(report))

    def _beat(self) -> None:
        beat = messages.Heartbeat(
            sent_at=datetime.now(UTC),
            node=self._id,
            running=[],
            slots=self._slots,
            cached_models=[],
        )
        self._publish("heartbeat", beat.model_dump_json())

    def _publish(self, kind: str, text: str) -> None:
        body = text.encode()
        self._producer.publish(
            body,
            exchange=INGRESS,
            routing_key=routes.ingress_key(kind, self._id),
            content_type="application/json",
            content_encoding="utf-8",
            user_id=routes.broker_username(self._id),
            headers={signatures.HEADER: signatures.sign(body, key=self._key)},
            declare=[],
        )


def main() -> None:
    """Run the nodes of the file named on the command line."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # one read
        described = json.load(file)
    stop = threading.Event()
    fleet = [LightNode(each, stop=stop) for each in described]
    for node in fleet:
        node.start()
    for node in fleet:
        node.is_ready.wait(timeout=120)
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    main()
