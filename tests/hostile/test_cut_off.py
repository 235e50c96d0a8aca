"""A node that is no longer wanted is out within a second, and comes back only when let in."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from amqp.exceptions import AMQPError, NotFound
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hostile.broker_cases import publish
from workers.protocol import messages, routes, signatures

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.postgres]

CUT_SECONDS_MAX = 1.0
#: How long an attacker goes on trying after the cut.
PATIENCE_SECONDS = 4.0
#: Longer than the broker remembers the authority's answers.
FORGOTTEN_SECONDS = 7.0


def beat_of(puppet, **changes: Any) -> bytes:
    fields = {"sent_at": datetime.now(UTC), "node": puppet.node_id, "running": []}
    beat = messages.Heartbeat(**{**fields, "slots": 1, "cached_models": [], **changes})
    return beat.model_dump_json().encode()


def signed(puppet, body: bytes) -> dict[str, Any]:
    return {
        "content_encoding": "utf-8",
        "user_id": puppet.login["username"],
        "application_headers": {"signature": signatures.sign(body, key=puppet.key)},
    }


def send_beat(channel, puppet, **changes: Any) -> None:
    body = beat_of(puppet, **changes)
    key = routes.ingress_key("heartbeat", puppet.node_id)
    publish(channel, "ingress", key, body.decode(), **signed(puppet, body))


class Attacker:
    """Loops that connect and publish without pause, whatever the broker says."""

    def __init__(self, scene, puppet, *, loops: int = 2) -> None:
        self._scene, self._puppet = scene, puppet
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._loop) for _ in range(loops)]
        self.begun = threading.Event()
        self.last_success = 0.0
        self.refused = 0

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        assert self.begun.wait(timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                with self._scene.channel(self._puppet) as channel:
                    while not self._stop.is_set():
                        send_beat(channel, self._puppet)
                        self.last_success = time.monotonic()
                        self.begun.set()
            except (AMQPError, OSError):
                self.refused += 1


def test_a_reconnecting_publishing_attacker_is_out_within_a_second_of_the_click(
    scene, platform, note_measured
):
    puppet = platform.puppet(4)
    with Attacker(scene, puppet) as attacker, platform.api("operator-4") as api:
        clicked = time.monotonic()
        api.post(f"nodes/{puppet.node_id}/retire/").raise_for_status()
        answered, answered_at = time.monotonic(), datetime.now(UTC)
        threading.Event().wait(PATIENCE_SECONDS)
        attempts = attacker.refused

    cut_seconds = attacker.last_success - clicked
    scene.settle()
    state, heard_at = scene.rows(
        "SELECT state, heartbeat_sent_at FROM tasks_node WHERE id = %s", puppet.node_id
    )[0]
    assert cut_seconds < CUT_SECONDS_MAX
    assert state == "retired"
    assert heard_at < answered_at
    assert attempts > 0
    note_measured(
        f"cut-off: last accepted publish {cut_seconds * 1000:.0f} ms after the click (answered"
        f" after {(answered - clicked) * 1000:.0f} ms), then {attempts} refused attempts"
        f" in {PATIENCE_SECONDS:.0f} s"
    )


def rotate(platform, puppet, key, **changes: Any) -> httpx.Response:
    request = messages.KeyRotation(
        sent_at=datetime.now(UTC), node=puppet.node_id, public_key=signatures.public_text(key)
    ).model_dump_json()
    body = {
        "request": request,
        "signature": signatures.sign(request.encode(), key=puppet.key),
        "proof": signatures.sign(request.encode(), key=key),
    }
    url = f"{platform.stack.url}{routes.rotation_path(puppet.node_id)}"
    return httpx.post(url, json={**body, **changes}, timeout=20)


def test_a_stolen_login_ends_when_the_node_changes_its_keys(scene, platform):
    puppet, key = platform.puppet(4), Ed25519PrivateKey.generate()
    thief = scene.connection(puppet)
    thief.connect()

    answer = rotate(platform, puppet, key)

    assert answer.status_code == 200, answer.text
    with pytest.raises((AMQPError, OSError)):
        send_beat(thief.channel(), puppet)
    with pytest.raises(AMQPError), scene.channel(puppet):
        pass
    replay = httpx.post(answer.request.url, content=answer.request.content,
                        headers={"content-type": "application/json"}, timeout=20)  # fmt: skip
    assert replay.json()["code"] == "bad_signature"
    puppet.key, puppet.login = key, answer.json()["broker"]
    with scene.channel(puppet) as channel:
        send_beat(channel, puppet)
    scene.settle()
    assert scene.rows(
        "SELECT public_key, heartbeat_sent_at IS NOT NULL FROM tasks_node WHERE id = %s",
        puppet.node_id,
    ) == [(signatures.public_text(key), True)]


def test_while_the_authority_is_away_connected_nodes_go_on_and_nothing_is_lost(scene, platform):
    connected, newcomer = platform.puppet(4), platform.puppet(5)
    with scene.channel(connected) as channel:
        send_beat(channel, connected)
        platform.stack.stop("authority")
        try:
            threading.Event().wait(FORGOTTEN_SECONDS)
            sent_at = datetime.now(UTC)
            send_beat(channel, connected, sent_at=sent_at)
            with pytest.raises((AMQPError, OSError)), scene.channel(newcomer):
                pass
        finally:
            platform.stack.start_authority()
    deadline = time.monotonic() + 20
    while not is_let_in(scene, newcomer):
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)

    scene.settle()
    heard = "SELECT heartbeat_sent_at FROM tasks_node WHERE id = %s"
    assert scene.rows(heard, connected.node_id) == [(sent_at,)]


def is_let_in(scene, puppet) -> bool:
    try:
        with scene.channel(puppet):
            return True
    except (AMQPError, OSError):
        return False


def test_a_node_whose_queue_expired_gets_it_back_by_saying_that_it_is_offline(scene, platform):
    puppet = platform.puppet(4)
    management = httpx.URL(platform.stack.environment["BROKER_MANAGEMENT_URL"])
    vhost, queue = puppet.login["vhost"], puppet.login["queue"]
    httpx.delete(
        management.copy_with(username=None, password=None, path=f"/api/queues/{vhost}/{queue}"),
        auth=(management.username, management.password),
    ).raise_for_status()
    with pytest.raises(NotFound), scene.channel(puppet) as channel:
        channel.basic_get(queue)

    puppet.beat(reason="offline")

    deadline = time.monotonic() + 20
    while not has_queue(scene, puppet):
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    job_id = platform.submit()
    assert puppet.next(messages.Announcement).job == job_id
    with platform.api() as api:
        api.post(f"jobs/{job_id}/cancel/").raise_for_status()


def has_queue(scene, puppet) -> bool:
    try:
        with scene.channel(puppet) as channel:
            channel.basic_get(puppet.login["queue"])
            return True
    except NotFound:
        return False
