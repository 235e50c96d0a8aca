"""The embedded broker, and what happens when the broker is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tasks import broker, ids, queues

EMPTY = {
    "platform.reports": 0,
    "platform.acks": 0,
    "platform.heartbeats": 0,
    "platform.work": 0,
    "platform.referee": 0,
    "platform.dead": 0,
}


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """Point the platform at an embedded broker of its own."""
    settings.BROKER_URL = f"filebroker://{tmp_path}/broker"
    settings.BROKER_MANAGEMENT_URL = ""
    settings.BROKER_NODE_URL = ""
    return tmp_path / "broker"


@pytest.fixture
def nobody(settings: Any, unused_port: int) -> None:
    """Point the platform at a RabbitMQ that is not running."""
    settings.BROKER_URL = f"amqp://platform:secret@127.0.0.1:{unused_port}/nodefolk"
    settings.BROKER_MANAGEMENT_URL = f"http://admin:secret@127.0.0.1:{unused_port}"


@pytest.fixture
def unused_port() -> int:
    """A privileged port that nothing serves."""
    return 1


def bindings(settings: Any) -> set[tuple[str, str, str]]:
    with Connection(settings.BROKER_URL) as connection:
        return set(connection.channel().list_bindings())


def test_the_topology_can_be_declared_again_and_again(folder: Path, settings: Any) -> None:
    broker.declare_topology()
    first = bindings(settings)
    broker.declare_topology()

    assert bindings(settings) == first
    assert first == {
        ("platform.reports", "ingress", "report.*"),
        ("platform.acks", "ingress", "ack.*"),
        ("platform.heartbeats", "ingress", "heartbeat.*"),
        ("platform.work", "internal", "work"),
        ("platform.referee", "internal", "referee"),
        ("platform.dead", "dead", ""),
    }
    assert broker.queue_depths() == EMPTY


def test_an_embedded_node_gets_the_brokers_own_url_and_its_queue(
    folder: Path, settings: Any
) -> None:
    broker.declare_topology()
    node_id = ids.new_node()

    login = broker.provision_node(node_id=node_id, kinds=["detect", "classify"])

    assert login == broker.BrokerLogin(
        url=settings.BROKER_URL,
        username=f"node-{node_id}",
        password="",
        vhost="/",
        queue=f"node.{node_id}",
    )
    assert {row for row in bindings(settings) if row[0] == login.queue} == {
        (login.queue, "assign", login.queue),
        (login.queue, "announce", "detect.*"),
        (login.queue, "announce", f"detect.*.{node_id[-1]}"),
        (login.queue, "announce", "classify.*"),
        (login.queue, "announce", f"classify.*.{node_id[-1]}"),
    }


def test_a_revoked_embedded_node_has_no_queue_any_more(folder: Path, settings: Any) -> None:
    broker.declare_topology()
    node_id = ids.new_node()
    broker.provision_node(node_id=node_id, kinds=["detect"])

    broker.revoke_node(node_id=node_id)
    broker.revoke_node(node_id=node_id)

    assert {row[0] for row in bindings(settings)} == set(EMPTY)
    assert sorted(path.name for path in (folder / "queues").iterdir()) == sorted(EMPTY)


def test_the_depths_count_what_waits(folder: Path, settings: Any) -> None:
    broker.declare_topology()
    with Connection(settings.BROKER_URL) as connection:
        for _ in range(3):
            connection.Producer().publish(
                {}, exchange="ingress", routing_key="ack.n1", serializer="json"
            )

    assert broker.queue_depths() == {**EMPTY, "platform.acks": 3}


def test_depths_before_the_topology_exists_are_an_error(folder: Path) -> None:
    with pytest.raises(broker.BrokerUnavailable):
        broker.queue_depths()


def test_the_embedded_broker_has_no_trouble(folder: Path) -> None:
    assert broker.trouble(1.0) == ""


def test_a_broker_that_is_not_running_does_not_answer(nobody: None) -> None:
    assert broker.trouble(1.0) == "It does not answer."


def test_every_call_to_an_absent_broker_says_that_it_is_unavailable(nobody: None) -> None:
    node_id = ids.new_node()

    with pytest.raises(broker.BrokerUnavailable):
        broker.declare_topology()
    with pytest.raises(broker.BrokerUnavailable):
        broker.provision_node(node_id=node_id, kinds=["detect"])
    with pytest.raises(broker.BrokerUnavailable):
        broker.revoke_node(node_id=node_id)
    with pytest.raises(broker.BrokerUnavailable):
        broker.queue_depths()


def test_the_error_of_an_absent_broker_names_no_password(nobody: None) -> None:
    with pytest.raises(broker.BrokerUnavailable) as raised:
        broker.declare_topology()

    assert "secret" not in str(raised.value)


def test_rabbitmq_without_the_administrators_login_is_refused(settings: Any) -> None:
    settings.BROKER_URL = "amqp://platform:secret@127.0.0.1:1/nodefolk"
    settings.BROKER_MANAGEMENT_URL = ""

    with pytest.raises(broker.BrokerUnavailable, match="BROKER_MANAGEMENT_URL"):
        broker.provision_node(node_id=ids.new_node(), kinds=["detect"])


def test_a_bad_node_id_reaches_no_broker(folder: Path) -> None:
    with pytest.raises(queues.BadNodeId):
        broker.provision_node(node_id="node_.*", kinds=["detect"])

    assert not folder.exists()


def test_a_login_shows_no_password_when_printed() -> None:
    login = broker.BrokerLogin("amqp://host", "node-1", "secret", "nodefolk", "node.1")

    assert "secret" not in repr(login)
