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
#: Until a node that used up its share of 1500 messages, 200 a second, is heard again.
FORGIVEN_SECONDS = 5.0
FLOOD_MESSAGES_MAX = 60_000


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


def flood(scene, puppet) -> tuple[int, float]:
    """Publish without confirms until cut off; return how many and how long, seconds."""
    body = beat_of(puppet)
    options = {"content_type": "application/json", "headers": {}, **signed(puppet, body)}
    options["headers"] = options.pop("application_headers")
    key = routes.ingress_key("heartbeat", puppet.node_id)
    connection = scene.connection(puppet, transport_options={"confirm_publish": False})
    started, sent = time.monotonic(), 0
    try:
        producer = connection.Producer(auto_declare=False)
        while sent < FLOOD_MESSAGES_MAX:
            producer.publish(
                body, exchange="ingress", routing_key=key, declare=[], retry=False, **options
            )
            sent += 1
    except (AMQPError, OSError):
        pass
    finally:
        connection.release()
    return sent, time.monotonic() - started


def slowest_beat(scene, puppet, *, until: threading.Event) -> float:
    """Send signs of life all the time; return the longest time until one was taken."""
    slowest = 0.0
    with scene.channel(puppet) as channel:
        while not until.is_set():
            sent_at = datetime.now(UTC)
            started = time.monotonic()
            send_beat(channel, puppet, sent_at=sent_at)
            while True:
                heard = scene.rows(
                    "SELECT heartbeat_sent_at FROM tasks_node WHERE id = %s", puppet.node_id
                )
                if heard[0][0] is not None and heard[0][0] >= sent_at:
                    break
                time.sleep(0.005)
            slowest = max(slowest, time.monotonic() - started)
    return slowest


def after(seconds: float) -> threading.Event:
    """Return an event that is set after this time."""
    event = threading.Event()
    timer = threading.Timer(seconds, event.set)
    timer.daemon = True
    timer.start()
    return event


def test_a_flooding_node_is_cut_off_by_itself_and_the_others_hardly_notice(
    scene, platform, note_measured
):
    puppet, honest = platform.puppet(5), platform.puppet(4)
    done, result = threading.Event(), []
    quiet_seconds = slowest_beat(scene, honest, until=after(2.0))
    watch = threading.Thread(target=lambda: result.append(slowest_beat(scene, honest, until=done)))
    watch.start()
    try:
        sent, seconds = flood(scene, puppet)
        threading.Event().wait(1)
    finally:
        done.set()
        watch.join()

    row = "SELECT state, state_reason FROM tasks_node WHERE id = %s"
    assert sent < FLOOD_MESSAGES_MAX
    assert scene.rows(row, puppet.node_id) == [("suspended", "flooding")]
    assert scene.rows(row, honest.node_id) == [("active", "")]
    # A second on a quiet machine, where a sign of life takes 20 ms; else in proportion.
    assert result[0] < max(1.0, 50 * quiet_seconds), (sent, seconds, result, quiet_seconds)
    note_measured(
        f"flood: {sent} messages in {seconds:.2f} s ({sent / seconds:.0f}/s), then cut off;"
        f" the slowest sign of life of another node took {result[0] * 1000:.0f} ms"
        f" ({quiet_seconds * 1000:.0f} ms before)"
    )
    with pytest.raises((AMQPError, OSError)), scene.channel(puppet):
        pass

    # What the flood left in the queue still counts, and half of the share must be there again.
    scene.settle()
    threading.Event().wait(FORGIVEN_SECONDS)
    platform.python(
        "from datetime import UTC, datetime\nfrom tasks import nodes\n"
        f"nodes.reinstate(node_id='{puppet.node_id}', now=datetime.now(UTC))\nprint('null')"
    )
    with scene.channel(puppet) as channel:
        send_beat(channel, puppet)
    scene.settle()
    assert scene.rows(row, puppet.node_id) == [("active", "")]


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
