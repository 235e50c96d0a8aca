"""How soon do all nodes acknowledge a job? Real portal, broker, ingest and database.

Light nodes, each with its own connection, login and key, answer at once; the time of each
ack is the platform's own: from publishing the announcement to the ack's arrival at ingest,
read from the rows. The first rounds warm everything up and are not counted.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Consumer, Exchange, Producer, Queue

from bench import platform
from portal.demo import sample, stack
from workers.protocol import messages, routes, signatures

SIZES = (7,)
ROUNDS = 12
WARM_UP_ROUNDS = 2
INGRESS = Exchange("ingress", type="topic", no_declare=True)
PHOTO = stack.BASE_DIR / "portal" / "photos" / "camera.png"

_PREPARE = """
import base64, sys
from dataclasses import asdict
from datetime import UTC, datetime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from portal.demo import cast
from portal.models import User
from tasks import nodes
from workers.protocol import signatures
now = datetime.now(UTC)
client = cast.prepare(nodes=1, now=now)["client"]
fleet = []
for number in range({count}):
    owner, _ = User.objects.get_or_create(email=f"bench-{{number}}@nodefolk.example")
    key = Ed25519PrivateKey.generate()
    enrollment = nodes.enroll(
        token=nodes.issue_token(owner_id=owner.pk, now=now).token,
        name=f"light {{number}}",
        public_key=signatures.public_text(key),
        hardware={{}},
        now=now,
    )
    fleet.append({{
        "id": enrollment.node.pk,
        "key": base64.b64encode(key.private_bytes_raw()).decode(),
        "login": asdict(enrollment.broker),
    }})
print(json.dumps({{"client": client.api_key, "fleet": fleet}}))
"""

_LATENCIES = """
from tasks.models import Ack
acks = Ack.objects.filter(job_id={job_id!r}).order_by("latency_ms")
print(json.dumps(list(acks.values_list("latency_ms", flat=True))))
"""


class LightNode(threading.Thread):
    """Acknowledges every announcement and does nothing else."""

    def __init__(self, described: dict[str, Any], *, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._id = described["id"]
        self._login = described["login"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(described["key"]))
        self._stop_all = stop
        self.is_ready = threading.Event()

    def run(self) -> None:
        login = self._login
        address = login["url"].removeprefix("amqp://").partition("/")[0]
        url = f"amqp://{login['username']}:{login['password']}@{address}/{login['vhost']}"
        inbox = Queue(login["queue"], no_declare=True)
        with Connection(url) as connection, connection.channel() as channel:
            self._channel = channel
            self._publish("heartbeat", self._heartbeat())
            with Consumer(channel, [inbox], on_message=self._take, auto_declare=False, no_ack=True):
                self.is_ready.set()
                while not self._stop_all.is_set():
                    try:
                        connection.drain_events(timeout=0.5)
                    except TimeoutError:
                        continue

    def _take(self, message: Any) -> None:
        arguments, _, _ = json.loads(message.body)
        text = arguments[0]
        if '"kind":"announcement"' not in text:
            return
        announced = messages.Announcement.model_validate_json(text)
        self._publish(
            "ack",
            messages.AckMessage(
                sent_at=datetime.now(UTC),
                node=self._id,
                job=announced.job,
                slots=1,
                cached_models=[],
            ),
        )

    def _heartbeat(self) -> messages.Heartbeat:
        return messages.Heartbeat(
            sent_at=datetime.now(UTC), node=self._id, running=[], slots=1, cached_models=[]
        )

    def _publish(self, kind: str, message: messages.Message) -> None:
        body = message.model_dump_json().encode()
        Producer(self._channel, auto_declare=False).publish(
            body,
            exchange=INGRESS,
            routing_key=routes.ingress_key(kind, self._id),
            content_type="application/json",
            content_encoding="utf-8",
            user_id=routes.broker_username(self._id),
            headers={signatures.HEADER: signatures.sign(body, key=self._key)},
            declare=[],
        )


def measure(running: stack.Stack, *, count: int) -> list[list[int]]:
    """Return the latencies of each counted round, milliseconds."""
    prepared = platform.python(running, _PREPARE.format(count=count))
    stop = threading.Event()
    fleet = [LightNode(described, stop=stop) for described in prepared["fleet"]]
    for node in fleet:
        node.start()
    for node in fleet:
        node.is_ready.wait(timeout=30)
    rounds = []
    with sample.session(url=running.url, api_key=prepared["client"]) as api:
        dataset = sample.upload(api, name="one", photos=[PHOTO])
        for number in range(WARM_UP_ROUNDS + ROUNDS):
            latencies = _round(running, api, dataset=dataset, count=count)
            if number >= WARM_UP_ROUNDS:
                rounds.append(latencies)
            platform.say(f"{count} nodes, round {number}: slowest {max(latencies)} ms")
    stop.set()
    return rounds


def _round(running: stack.Stack, api: Any, *, dataset: str, count: int) -> list[int]:
    job_id = sample.submit(api, dataset=dataset)["id"]
    stack.wait_until(
        lambda: api.get(f"jobs/{job_id}/").json()["acks"]["count"] == count,
        seconds=30,
        what=f"{count} acks",
    )
    api.post(f"jobs/{job_id}/cancel/").raise_for_status()
    latencies: list[int] = platform.python(running, _LATENCIES.format(job_id=job_id))
    return latencies


def main() -> None:
    """Measure each fleet size named on the command line, by default 7."""
    figures, noise = {}, {}
    for count in [int(text) for text in sys.argv[1:]] or SIZES:
        with platform.running() as running:
            rounds = measure(running, count=count)
        every = sorted(latency for latencies in rounds for latency in latencies)
        figures[f"p95_ms_{count}"] = every[int(len(every) * 0.95) - 1]
        slowest = [max(latencies) for latencies in rounds]
        noise[f"slowest_ms_{count}"] = {
            "min": min(slowest),
            "median": statistics.median(slowest),
            "max": max(slowest),
        }
    platform.result("acks", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
