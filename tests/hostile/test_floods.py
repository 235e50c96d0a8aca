"""A node that sends as fast as it can is cut off by itself, and the others hardly notice."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from amqp.exceptions import AMQPError

from portal.demo.stack import BASE_DIR
from tests.flows.puppet import Puppet
from tests.hostile.broker_cases import publish
from tests.hostile.publishing import beat_of
from tests.hostile.scene import Scene
from workers.protocol import messages, routes, signatures

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.postgres]

#: After so long a flood counts as one that nobody stopped.
FLOOD_SECONDS_MAX = 60
#: As many as a node may have.
FLOOD_CONNECTIONS = 3
QUIET_SECONDS = 2.0
#: How long a message of the other node is waited for.
TAKEN_SECONDS_MAX = 60.0
#: Until a node that used up its share of 1500 messages, 200 a second, is heard again.
FORGIVEN_SECONDS = 5.0
#: What a slot count in an ack may be.
SLOTS = itertools.cycle(range(1, 33))


def ack_of(puppet: Puppet, job_id: str, *, slots: int) -> messages.AckMessage:
    return messages.AckMessage(
        sent_at=datetime.now(UTC), node=puppet.node_id, job=job_id, slots=slots, cached_models=[]
    )


def send(channel: Any, puppet: Puppet, kind: str, message: messages.Message) -> None:
    body = message.model_dump_json()
    key = routes.ingress_key(kind, puppet.node_id)
    publish(channel, "ingress", key, body, **signed(puppet, body))


def signed(puppet: Puppet, body: str) -> dict[str, Any]:
    return {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "user_id": puppet.login["username"],
        "application_headers": {"signature": signatures.sign(body.encode(), key=puppet.key)},
    }


class Watch:
    """Sends one message after another and waits until each was taken, all the time."""

    def __init__(self, scene: Scene, puppet: Puppet, kind: str, job_id: str) -> None:
        self._scene, self._puppet, self._kind, self._job_id = scene, puppet, kind, job_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        #: Seconds until each was taken.
        self.taken_after: list[float] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._scene.channel(self._puppet) as channel:
            while not self._stop.is_set():
                started = time.monotonic()
                is_taken = self._send(channel)
                # One that never comes counts as having taken that long.
                while not is_taken() and time.monotonic() - started < TAKEN_SECONDS_MAX:
                    time.sleep(0.005)
                self.taken_after.append(time.monotonic() - started)

    def _send(self, channel: Any) -> Callable[[], bool]:
        if self._kind == "heartbeat":
            beat = beat_of(self._puppet)
            send(channel, self._puppet, "heartbeat", beat)
            return lambda: self._read("heartbeat_sent_at") == beat.sent_at
        slots = next(SLOTS)
        send(channel, self._puppet, "ack", ack_of(self._puppet, self._job_id, slots=slots))
        return lambda: self._read("slots") == slots

    def _read(self, column: str) -> Any:
        query = f"SELECT {column} FROM tasks_node WHERE id = %s"
        return self._scene.rows(query, self._puppet.node_id)[0][0]


def flood(puppet: Puppet, kind: str, message: messages.Message) -> dict[str, Any]:
    """Publish one message again and again until cut off; return how that went."""
    body, login = message.model_dump_json(), puppet.login
    plan = {
        "url": login["url"],
        "login": {
            "userid": login["username"],
            "password": login["password"],
            "virtual_host": login["vhost"],
        },
        "key": routes.ingress_key(kind, puppet.node_id),
        "body": body,
        "properties": signed(puppet, body),
        "seconds_max": FLOOD_SECONDS_MAX,
        "connections": FLOOD_CONNECTIONS,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.flooder"],
        input=json.dumps(plan),
        cwd=BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
        timeout=2 * FLOOD_SECONDS_MAX,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def job_id(platform) -> Iterator[str]:
    """A job that stays open: acks of a job that ended change nothing."""
    made = platform.submit(images=8)
    yield made
    with platform.api() as api:
        api.post(f"jobs/{made}/cancel/").raise_for_status()


@pytest.mark.parametrize("kind", ["ack", "heartbeat"])
def test_a_flooding_node_is_cut_off_by_itself_and_the_others_hardly_notice(
    scene, platform, note_measured, job_id, kind
):
    puppet, honest = platform.puppet(5), platform.puppet(4)
    message = ack_of(puppet, job_id, slots=1) if kind == "ack" else beat_of(puppet)
    with Watch(scene, honest, kind, job_id) as quiet:
        threading.Event().wait(QUIET_SECONDS)

    with Watch(scene, honest, kind, job_id) as watch:
        told = flood(puppet, kind, message)
        threading.Event().wait(1)

    row = "SELECT state, state_reason FROM tasks_node WHERE id = %s"
    assert told["is_cut_off"], told
    assert scene.rows(row, puppet.node_id) == [("suspended", "flooding")]
    assert scene.rows(row, honest.node_id) == [("active", "")]
    # A second on a quiet machine, where a message is taken after 20 ms; else in proportion.
    slowest, usual = max(watch.taken_after), max(quiet.taken_after)
    assert slowest < max(1.0, 50 * usual), (told, slowest, usual)
    note_measured(
        f"flood of {kind}s: {told['sent']} in {told['seconds']:.2f} s"
        f" ({told['sent'] / told['seconds']:.0f}/s), then cut off; the slowest of"
        f" {len(watch.taken_after)} {kind}s of another node was taken after"
        f" {slowest * 1000:.0f} ms ({usual * 1000:.0f} ms before)"
    )
    with pytest.raises((AMQPError, OSError)), scene.channel(puppet):
        pass
    comes_back(scene, platform, puppet)
    assert scene.rows(row, puppet.node_id) == [("active", "")]


def comes_back(scene: Scene, platform, puppet: Puppet) -> None:
    """Let staff reinstate it, after what the flood left in the queue was counted as well."""
    scene.settle()
    threading.Event().wait(FORGIVEN_SECONDS)
    platform.python(
        "from datetime import UTC, datetime\nfrom tasks import nodes\n"
        f"nodes.reinstate(node_id='{puppet.node_id}', now=datetime.now(UTC))\nprint('null')"
    )
    with scene.channel(puppet) as channel:
        send(channel, puppet, "heartbeat", beat_of(puppet))
    scene.settle()
