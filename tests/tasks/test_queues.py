from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import ids, queues
from workers.protocol import routes


def test_a_fresh_node_id_names_a_queue_bound_to_assign_under_its_own_name() -> None:
    node_id = ids.new_node()

    queue = queues.node_queue(node_id)

    assert queue.name == f"node.{node_id}"
    assert queue.exchange.name == "assign"
    assert queue.routing_key == f"node.{node_id}"


def test_a_full_node_queue_drops_its_oldest_message_instead_of_refusing_an_announcement() -> None:
    queue = queues.node_queue(ids.new_node())

    assert queue.queue_arguments == {
        "x-queue-type": "classic",
        "x-expires": 3_600_000,
        "x-message-ttl": 30_000,
        "x-max-length": 1000,
        "x-overflow": "drop-head",
    }


@given(st.text(max_size=40).filter(lambda text: not queues.NODE_ID_PATTERN.fullmatch(text)))
def test_no_other_text_is_taken_for_a_node_id(text: str) -> None:
    with pytest.raises(queues.BadNodeId):
        queues.node_queue(text)


def test_ids_with_broker_pattern_characters_are_refused() -> None:
    for node_id in (
        "#",
        "*",
        "node_" + "a" * 25 + "#",
        "node_" + "a" * 26 + "\n",
        "node_" + "A" * 26,
    ):
        with pytest.raises(queues.BadNodeId):
            queues.node_queue(node_id)


def test_every_platform_queue_is_a_quorum_queue_so_celery_sets_no_global_qos() -> None:
    types = {queue.name: queue.queue_arguments["x-queue-type"] for queue in queues.PLATFORM_QUEUES}

    assert types == {
        "platform.reports": "quorum",
        "platform.acks": "quorum",
        "platform.heartbeats": "quorum",
        "platform.work": "quorum",
        "platform.referee": "quorum",
        "platform.dead": "quorum",
    }


def test_what_takes_the_referees_process_waits_apart_from_everything_else() -> None:
    names = ("tasks.referee", "tasks.make_gold", "tasks.sweep", "tasks.schedule")

    waiting = {name: queues.worker_queue(name).name for name in names}

    assert waiting == {
        "tasks.referee": "platform.referee",
        "tasks.make_gold": "platform.referee",
        "tasks.sweep": "platform.work",
        "tasks.schedule": "platform.work",
    }


def test_each_kind_a_node_may_publish_reaches_exactly_one_platform_queue() -> None:
    patterns = sorted(queue.routing_key for queue in queues.INGRESS_QUEUES)

    assert patterns == sorted(routes.ingress_key(kind, "*") for kind in routes.KINDS)


def test_nothing_is_declared_by_using_it() -> None:
    assert all(exchange.no_declare for exchange in queues.EXCHANGES)
    assert all(queue.no_declare for queue in queues.PLATFORM_QUEUES)
    assert queues.node_queue(ids.new_node()).no_declare
