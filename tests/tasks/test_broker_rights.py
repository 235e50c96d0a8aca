"""What a node's login may do on a real RabbitMQ, and all that it may not.

Here without the authority, by rights written into RabbitMQ; tests/hostile has it with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from kombu import Connection

from tasks import broker, ids, queues, samples

pytestmark = pytest.mark.rabbitmq

#: RabbitMQ closes a revoked connection within milliseconds; this bounds a failing test.
CLOSED_SECONDS_MAX = 5.0


def open_as(login: broker.BrokerLogin, **changes: Any) -> Connection:
    """Connect with the login, some of it changed; confirms make refusals come at once."""
    parts = {"userid": login.username, "password": login.password, "virtual_host": login.vhost}
    return Connection(
        login.url,
        **{**parts, **changes},
        connect_timeout=5,
        transport_options={"confirm_publish": True},
    )


def publish(connection: Connection, exchange: str, key: str, body: str = "{}", **kw: Any) -> None:
    channel: Any = connection.channel()
    connection.Producer(channel).publish(
        body,
        exchange=exchange,
        routing_key=key,
        content_type="application/json",
        content_encoding="utf-8",
        confirm_timeout=5,
        **kw,
    )


@pytest.fixture
def platform(settings: Any) -> Iterator[Any]:
    """A channel of the platform's own user, with its queues emptied.

    One user for everything, as without BROKER_INGEST_URL, so that a test can read.
    """
    settings.BROKER_AUTHORITY = ""
    is_apart = settings.BROKER_INGEST_URL
    settings.BROKER_INGEST_URL = ""
    broker.declare_topology()
    with Connection(
        settings.BROKER_URL, connect_timeout=5, transport_options={"confirm_publish": True}
    ) as connection:
        channel: Any = connection.channel()
        for queue in queues.PLATFORM_QUEUES:
            channel.queue_purge(queue.name)
        yield channel
    settings.BROKER_INGEST_URL = is_apart
    broker.declare_topology()


@pytest.fixture
def node_id(platform: Any) -> Iterator[str]:
    fresh = ids.new_node()
    yield fresh
    broker.revoke_node(node_id=fresh)


@pytest.fixture
def login(node_id: str) -> broker.BrokerLogin:
    return broker.provision_node(node_id=node_id, kinds=["detect"])


@pytest.fixture
def other(platform: Any) -> Iterator[broker.BrokerLogin]:
    """Another node, with one assignment waiting in its queue."""
    other_id = ids.new_node()
    login = broker.provision_node(node_id=other_id, kinds=["detect"])
    send(platform, "assign", login.queue, "for the other")
    yield login
    broker.revoke_node(node_id=other_id)


def send(channel: Any, exchange: str, key: str, body: str) -> None:
    """Publish as the platform and wait until the broker has it."""
    channel.connection.client.Producer(channel).publish(
        body,
        exchange=exchange,
        routing_key=key,
        content_type="text/plain",
        content_encoding="utf-8",
        confirm_timeout=5,
    )


def waiting(channel: Any, name: str) -> int:
    return int(channel.queue_declare(name, passive=True).message_count)


def assert_nothing_arrived(platform: Any) -> None:
    assert set(broker.queue_depths().values()) == {0}


# --- allowed ------------------------------------------------------------------------------


def test_the_login_holds_no_credentials_in_its_url(
    login: broker.BrokerLogin, node_id: str, settings: Any
) -> None:
    assert login.url == settings.BROKER_NODE_URL
    assert "@" not in login.url
    assert login.username == f"node-{node_id}"
    assert login.vhost == urlsplit(settings.BROKER_URL).path.removeprefix("/")
    assert login.queue == f"node.{node_id}"


@pytest.mark.parametrize(
    ("kind", "queue"),
    [
        ("ack", "platform.acks"),
        ("report", "platform.reports"),
        ("heartbeat", "platform.heartbeats"),
    ],
)
def test_a_node_publishes_under_its_own_keys(
    platform: Any, login: broker.BrokerLogin, node_id: str, kind: str, queue: str
) -> None:
    with open_as(login) as connection:
        publish(connection, "ingress", f"{kind}.{node_id}", "mine", user_id=login.username)

    message = platform.basic_get(queue)
    assert message.body == "mine"
    assert message.properties["user_id"] == login.username
    assert message.delivery_info["routing_key"] == f"{kind}.{node_id}"
    platform.basic_ack(message.delivery_tag)
    assert_nothing_arrived(platform)


def test_a_node_reads_its_assignments_and_the_announcements_of_its_kinds(
    platform: Any, login: broker.BrokerLogin
) -> None:
    send(platform, "assign", login.queue, "assignment")
    send(platform, "announce", "detect.0123456789abcdef", "announcement")
    send(platform, "announce", "train.0123456789abcdef", "not for it")

    with open_as(login) as connection:
        channel: Any = connection.channel()
        bodies = [channel.basic_get(login.queue, no_ack=True).body for _ in range(2)]
        assert channel.basic_get(login.queue, no_ack=True) is None

    assert bodies == ["assignment", "announcement"]


def test_a_node_hears_what_is_told_to_its_own_sample_and_not_to_another(
    platform: Any, login: broker.BrokerLogin, node_id: str
) -> None:
    other = next(each for each in samples.BUCKETS if each != samples.bucket(node_id))
    send(platform, "announce", f"detect.0123456789abcdef.{samples.bucket(node_id)}", "mine")
    send(platform, "announce", f"detect.0123456789abcdef.{other}", "another's")

    with open_as(login) as connection:
        channel: Any = connection.channel()
        assert channel.basic_get(login.queue, no_ack=True).body == "mine"
        assert channel.basic_get(login.queue, no_ack=True) is None


def test_provisioning_again_renews_the_password_and_the_kinds(
    platform: Any, login: broker.BrokerLogin, node_id: str
) -> None:
    again = broker.provision_node(node_id=node_id, kinds=["train"])

    send(platform, "announce", "detect.1", "old kind")
    send(platform, "announce", "train.1", "new kind")
    with pytest.raises(AccessRefused), open_as(login) as connection:
        connection.connect()
    with open_as(again) as connection:
        channel: Any = connection.channel()
        assert channel.basic_get(again.queue, no_ack=True).body == "new kind"
        assert channel.basic_get(again.queue, no_ack=True) is None


# --- refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "key"),
    [
        ("ingress", "report.{other}"),
        ("ingress", "ack.{other}"),
        ("ingress", "report.{own}.more"),
        ("ingress", "withdraw.{own}"),
        ("ingress", "{own}"),
        ("assign", "node.{own}"),
        ("assign", "node.{other}"),
        ("announce", "detect.1"),
        ("internal", "work"),
        ("dead", ""),
        ("", "platform.work"),
        ("", "node.{own}"),
        ("amq.topic", "report.{own}"),
    ],
)
def test_a_node_publishes_nowhere_else(
    platform: Any,
    login: broker.BrokerLogin,
    other: broker.BrokerLogin,
    node_id: str,
    exchange: str,
    key: str,
) -> None:
    other_id = other.queue.removeprefix("node.")

    with open_as(login) as connection, pytest.raises(AccessRefused):
        publish(connection, exchange, key.format(own=node_id, other=other_id))

    assert_nothing_arrived(platform)
    assert waiting(platform, login.queue) == 0
    assert waiting(platform, other.queue) == 1


def test_a_node_cannot_name_another_user_as_the_sender(
    platform: Any, login: broker.BrokerLogin, other: broker.BrokerLogin, node_id: str
) -> None:
    with open_as(login) as connection, pytest.raises(PreconditionFailed):
        publish(connection, "ingress", f"report.{node_id}", user_id=other.username)

    assert_nothing_arrived(platform)


def test_a_message_above_128_kib_is_refused(
    platform: Any, login: broker.BrokerLogin, node_id: str
) -> None:
    with open_as(login) as connection, pytest.raises(PreconditionFailed):
        publish(connection, "ingress", f"report.{node_id}", "x" * (128 * 1024 + 1))

    assert_nothing_arrived(platform)


@pytest.mark.parametrize("act", ["get", "consume", "purge", "delete", "bind", "unbind"])
def test_a_node_cannot_touch_another_nodes_queue(
    platform: Any, login: broker.BrokerLogin, other: broker.BrokerLogin, act: str
) -> None:
    with open_as(login) as connection, pytest.raises(AccessRefused):
        attempt(connection.channel(), act, other.queue)

    assert waiting(platform, other.queue) == 1


@pytest.mark.parametrize("act", ["get", "consume", "purge", "delete", "bind", "unbind"])
def test_a_node_cannot_touch_the_platforms_queues(
    platform: Any, login: broker.BrokerLogin, act: str
) -> None:
    send(platform, "internal", "work", "background work")

    with open_as(login) as connection, pytest.raises(AccessRefused):
        attempt(connection.channel(), act, "platform.work")

    assert waiting(platform, "platform.work") == 1


def attempt(channel: Any, act: str, queue: str) -> None:
    """Do one thing to the queue, and wait for the broker's answer."""
    acts: dict[str, Any] = {
        "get": lambda: channel.basic_get(queue),
        "consume": lambda: channel.basic_consume(queue),
        "purge": lambda: channel.queue_purge(queue),
        "delete": lambda: channel.queue_delete(queue),
        "bind": lambda: channel.queue_bind(queue, "announce", "#"),
        "unbind": lambda: channel.queue_unbind(queue, "assign", queue),
    }
    acts[act]()


def test_a_node_configures_nothing_not_even_its_own_queue(
    platform: Any, login: broker.BrokerLogin
) -> None:
    send(platform, "assign", login.queue, "assignment")

    with open_as(login) as connection:
        with pytest.raises(AccessRefused):
            connection.channel().queue_declare("mine", auto_delete=False)
        with pytest.raises(AccessRefused):
            connection.channel().exchange_declare("mine", "topic")
        with pytest.raises(AccessRefused):
            connection.channel().queue_delete(login.queue)
        with pytest.raises(AccessRefused):
            connection.channel().queue_bind(login.queue, "announce", "#")

    assert waiting(platform, login.queue) == 1
    for name in ("mine", "amq.gen-mine"):
        with pytest.raises(NotFound):
            platform.connection.channel().queue_declare(name, passive=True)


def test_a_node_enters_no_other_vhost(login: broker.BrokerLogin) -> None:
    for vhost in ("/", "elsewhere"):
        with pytest.raises(NotAllowed), open_as(login, virtual_host=vhost) as connection:
            connection.connect()


def test_an_empty_or_wrong_password_is_refused(login: broker.BrokerLogin) -> None:
    for password in ("", "guess"):
        with pytest.raises(AccessRefused), open_as(login, password=password) as connection:
            connection.connect()


def test_a_fourth_connection_is_refused_and_the_first_three_live(
    login: broker.BrokerLogin,
) -> None:
    opened = [open_as(login) for _ in range(3)]
    for connection in opened:
        connection.connect()

    with pytest.raises(NotAllowed), open_as(login) as fourth:
        fourth.connect()

    for connection in opened:
        assert connection.channel().basic_get(login.queue) is None  # type: ignore[attr-defined]
        connection.release()


def test_the_platforms_own_user_configures_nothing(platform: Any) -> None:
    with pytest.raises(AccessRefused):
        platform.queue_declare("mine")


# --- revoked ------------------------------------------------------------------------------


def test_revoking_closes_the_connection_refuses_the_login_and_removes_the_queue(
    platform: Any, login: broker.BrokerLogin, node_id: str
) -> None:
    with open_as(login) as connection:
        connection.connect()
        broker.revoke_node(node_id=node_id)
        with pytest.raises(connection.connection_errors):
            drain_until_closed(connection)

    with pytest.raises(AccessRefused), open_as(login) as again:
        again.connect()
    with pytest.raises(NotFound):
        platform.queue_declare(login.queue, passive=True)


def drain_until_closed(connection: Connection) -> None:
    """Wait for the broker to hang up; returns only when it does not."""
    ends_at = time.monotonic() + CLOSED_SECONDS_MAX
    while time.monotonic() < ends_at:
        try:
            connection.drain_events(timeout=0.1)
        except TimeoutError:
            continue


@pytest.mark.slow
def test_a_node_that_reconnects_in_a_loop_is_locked_out_by_one_revocation(
    platform: Any, login: broker.BrokerLogin, node_id: str
) -> None:
    stop, has_published = threading.Event(), threading.Event()
    loops = [
        threading.Thread(target=hammer, args=(login, node_id, stop, has_published))
        for _ in range(2)
    ]
    for loop in loops:
        loop.start()
    assert has_published.wait(timeout=10)

    broker.revoke_node(node_id=node_id)
    after = waiting(platform, "platform.reports")
    stop.wait(timeout=1)
    stop.set()
    for loop in loops:
        loop.join()

    # A publish the broker had accepted before the cut may be counted a moment later.
    assert waiting(platform, "platform.reports") - after <= len(loops)
    with pytest.raises(AccessRefused), open_as(login) as again:
        again.connect()


def hammer(
    login: broker.BrokerLogin, node_id: str, stop: threading.Event, done: threading.Event
) -> None:
    """Connect and publish without pause, whatever the broker says."""
    while not stop.is_set():
        try:
            with open_as(login) as connection:
                while not stop.is_set():
                    publish(connection, "ingress", f"report.{node_id}", user_id=login.username)
                    done.set()
        except (AMQPError, OSError):
            continue


def test_revoking_one_node_leaves_the_others_alone(
    platform: Any, login: broker.BrokerLogin, other: broker.BrokerLogin, node_id: str
) -> None:
    with open_as(other) as connection:
        connection.connect()

        broker.revoke_node(node_id=node_id)

        assert connection.channel().basic_get(other.queue, no_ack=True).body == "for the other"  # type: ignore[attr-defined]
