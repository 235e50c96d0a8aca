from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kombu
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Connection
from kombu.exceptions import ChannelError
from kombu.transport.virtual import NotEquivalentError

from workers.protocol import filebroker, filequeues


def connect(folder: Path) -> Connection:
    return Connection(f"filebroker://{quote(str(folder))}")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with connect(tmp_path / "broker") as opened:
        yield opened


@pytest.fixture
def channel(connection: Connection) -> Any:
    return connection.channel()


def declare(channel: Any, exchange: str, kind: str, bindings: dict[str, str]) -> None:
    """Make an exchange of this type, and each queue with its binding key."""
    channel.exchange_declare(exchange=exchange, type=kind)
    for name, key in bindings.items():
        channel.queue_declare(queue=name)
        channel.queue_bind(queue=name, exchange=exchange, routing_key=key)


def publish(channel: Any, exchange: str, key: str, body: str = "{}", **properties: Any) -> None:
    message = channel.prepare_message(
        body, content_type="application/json", content_encoding="utf-8", properties=properties
    )
    channel.basic_publish(message, exchange=exchange, routing_key=key)


def bodies(channel: Any, name: str) -> list[str]:
    """Take and acknowledge all that waits in the queue."""
    taken = []
    while message := channel.basic_get(name):
        taken.append(bytes(message.body).decode())
        message.ack()
    return taken


# --- waiting ------------------------------------------------------------------------------


def consume(channel: Any, name: str, found: list[str]) -> None:
    consumer = kombu.Consumer(channel, [kombu.Queue(name)], auto_declare=False)
    consumer.register_callback(lambda body, message: (found.append(body), message.ack()))
    consumer.consume()


def publish_soon(folder: Path, name: str) -> threading.Thread:
    def run() -> None:
        with connect(folder) as other:
            publish(other.channel(), "", name, '"late"')

    timer = threading.Timer(0.1, run)
    timer.start()
    return timer


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_waiting_reader_is_woken_and_does_not_look_now_and_then(
    connection, channel, tmp_path, monkeypatch
):
    monkeypatch.setattr(filebroker, "WATCHED_SECONDS", 60.0)
    connection.transport.polling_interval = 60.0
    found: list[str] = []
    channel.queue_declare(queue="inbox")
    consume(channel, "inbox", found)

    sender = publish_soon(tmp_path / "broker", "inbox")
    connection.drain_events(timeout=50)
    sender.join()

    assert found == ["late"]


@pytest.mark.parametrize("system", ["darwin", "linux"])
def test_where_nobody_tells_of_files_the_reader_looks_again(
    connection, channel, tmp_path, monkeypatch, system
):
    """Another system, or a queue that was deleted and declared anew."""
    monkeypatch.setattr(sys, "platform", system)
    found: list[str] = []
    channel.queue_declare(queue="inbox")
    consume(channel, "inbox", found)
    if system == "linux":
        channel.queue_delete(queue="inbox")
        channel.queue_declare(queue="inbox")

    sender = publish_soon(tmp_path / "broker", "inbox")
    connection.drain_events(timeout=50)
    sender.join()

    assert found == ["late"]


def test_a_reader_that_waits_in_vain_is_told_in_time(connection, channel):
    channel.queue_declare(queue="inbox")
    consume(channel, "inbox", [])

    started = time.monotonic()
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.2)

    assert time.monotonic() - started >= 0.2


# --- the URL ------------------------------------------------------------------------------


def test_the_url_alone_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space"

    with connect(folder) as connection:
        connection.channel()

    assert sorted(path.name for path in folder.iterdir()) == ["exchanges", "queues"]


def test_the_options_carry_the_folder_and_a_short_poll() -> None:
    options = filebroker.transport_options("filebroker:///data/my%20broker")

    assert options == {"folder": "/data/my broker", "polling_interval": 0.05}


def test_connecting_warns_of_no_missing_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(tmp_path) as connection:
        connection.info()
        connection.channel()

    assert caplog.messages == []


@pytest.mark.parametrize("url", ["amqp://host/vhost", "filebroker://", "filebroker:///", "/data"])
def test_a_url_without_a_folder_is_refused(url: str) -> None:
    with pytest.raises(filebroker.NotAFileBroker):
        filebroker.transport_options(url)


# --- routing ------------------------------------------------------------------------------


def test_a_topic_message_reaches_every_matching_queue_once(channel: Any) -> None:
    declare(channel, "announce", "topic", {"a": "detect.#", "b": "detect.*", "c": "train.#"})

    publish(channel, "announce", "detect.0123", "hello")

    assert [bodies(channel, name) for name in "abc"] == [["hello"], ["hello"], []]


def test_a_direct_message_reaches_only_its_own_queue(channel: Any) -> None:
    declare(channel, "assign", "direct", {"node.a": "node.a", "node.b": "node.b"})

    publish(channel, "assign", "node.b", "yours")

    assert [bodies(channel, name) for name in ("node.a", "node.b")] == [[], ["yours"]]


def test_a_fanout_message_reaches_every_queue(channel: Any) -> None:
    declare(channel, "dead", "fanout", {"a": "", "b": ""})

    publish(channel, "dead", "whatever", "gone")

    assert [bodies(channel, name) for name in "ab"] == [["gone"], ["gone"]]


def test_a_publisher_that_declared_nothing_still_routes_by_topic(tmp_path: Path) -> None:
    with connect(tmp_path) as platform, connect(tmp_path) as portal:
        declare(platform.channel(), "announce", "topic", {"inbox": "detect.#"})

        publish(portal.channel(), "announce", "detect.1", "job")

        assert bodies(platform.channel(), "inbox") == ["job"]


def test_an_unroutable_message_is_dropped_as_by_rabbitmq(channel: Any) -> None:
    declare(channel, "announce", "topic", {"inbox": "detect.#"})

    publish(channel, "announce", "train.1")

    assert channel.queue_declare(queue="inbox", passive=True).message_count == 0


def test_publishing_to_an_unknown_exchange_is_refused(channel: Any) -> None:
    with pytest.raises(ChannelError, match="no exchange 'nowhere'"):
        publish(channel, "nowhere", "key")


def test_consuming_an_unknown_queue_is_refused(channel: Any) -> None:
    with pytest.raises(ChannelError, match="no queue 'nothing'"):
        channel.basic_consume("nothing", no_ack=True, callback=print, consumer_tag="1")


def test_declaring_an_exchange_as_another_type_is_refused_and_changes_nothing(channel: Any) -> None:
    declare(channel, "announce", "topic", {"inbox": "detect.#"})

    with pytest.raises(NotEquivalentError):
        channel.exchange_declare(exchange="announce", type="direct")

    publish(channel, "announce", "detect.1", "still a topic")
    assert bodies(channel, "inbox") == ["still a topic"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a" * 201, "new\nline"])
def test_a_name_that_could_leave_the_folder_is_refused(channel: Any, name: str) -> None:
    with pytest.raises(filequeues.BadName):
        channel.queue_declare(queue=name)


def test_an_unbound_queue_hears_no_more(channel: Any) -> None:
    declare(channel, "announce", "topic", {"a": "detect.#", "b": "detect.#"})

    channel.queue_unbind(queue="a", exchange="announce", routing_key="detect.#")

    publish(channel, "announce", "detect.1", "x")
    assert [bodies(channel, name) for name in "ab"] == [[], ["x"]]


def test_a_queue_deleted_elsewhere_can_be_made_and_bound_again(tmp_path: Path) -> None:
    with connect(tmp_path) as first, connect(tmp_path) as second:
        declare(first.channel(), "assign", "direct", {"node.a": "node.a"})
        publish(first.channel(), "assign", "node.a", "old")

        second.channel().queue_delete(queue="node.a")
        assert list(second.channel().list_bindings()) == []

        declare(first.channel(), "assign", "direct", {"node.a": "node.a"})
        publish(first.channel(), "assign", "node.a", "new")
        assert bodies(second.channel(), "node.a") == ["new"]


# --- messages -----------------------------------------------------------------------------


def test_a_message_arrives_with_its_key_user_headers_and_body(channel: Any) -> None:
    declare(channel, "ingress", "topic", {"reports": "report.*"})

    publish(channel, "ingress", "report.n1", '{"answer": 1}', user_id="node-n1")

    message = channel.basic_get("reports")
    assert bytes(message.body) == b'{"answer": 1}'
    assert message.content_type == "application/json"
    assert message.delivery_info["routing_key"] == "report.n1"
    assert message.properties["user_id"] == "node-n1"


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(max_size=50), max_size=20))
def test_one_writers_messages_come_out_complete_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    with connect(tmp_path_factory.mktemp("broker")) as connection:
        channel: Any = connection.channel()
        declare(channel, "assign", "direct", {"q": "q"})
        for text in texts:
            publish(channel, "assign", "q", text)

        assert channel.queue_declare(queue="q", passive=True).message_count == len(texts)
        assert bodies(channel, "q") == texts


def test_purging_removes_what_waits_and_says_how_much(channel: Any) -> None:
    declare(channel, "assign", "direct", {"q": "q", "other": "other"})
    for name in ("q", "q", "other"):
        publish(channel, "assign", name)

    assert channel.queue_purge(queue="q") == 2
    assert channel.queue_declare(queue="q", passive=True).message_count == 0
    assert channel.queue_declare(queue="other", passive=True).message_count == 1


def test_a_message_older_than_its_queues_ttl_is_never_delivered(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.exchange_declare(exchange="assign", type="direct")
    channel.queue_declare(queue="q", arguments={"x-message-ttl": 1000})
    channel.queue_bind(queue="q", exchange="assign", routing_key="q")
    begun_ns = filequeues.time.time_ns()
    monkeypatch.setattr(filequeues.time, "time_ns", lambda: begun_ns - 1_500_000_000)
    publish(channel, "assign", "q", "stale")
    monkeypatch.setattr(filequeues.time, "time_ns", lambda: begun_ns - 500_000_000)
    publish(channel, "assign", "q", "fresh")
    monkeypatch.setattr(filequeues.time, "time_ns", lambda: begun_ns)

    assert bodies(channel, "q") == ["fresh"]


def test_a_closed_consumers_message_goes_back_to_its_own_queue_and_place(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        channel: Any = connection.channel()
        declare(channel, "announce", "topic", {"a": "detect.#", "b": "detect.#"})
        for text in ("first", "second"):
            publish(channel, "announce", "detect.1", text)
        with connect(tmp_path) as consumer:
            taken: Any = consumer.channel().basic_get("a")
            assert bytes(taken.body) == b"first"

        again = channel.basic_get("a")
        assert bytes(again.body) == b"first"
        assert again.delivery_info["redelivered"] is True
        again.ack()
        assert bodies(channel, "a") == ["second"]
        assert bodies(channel, "b") == ["first", "second"]


def test_a_multiple_ack_covers_all_earlier_messages_and_no_later_one(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        declare(connection.channel(), "assign", "direct", {"q": "q"})
        for number in range(5):
            publish(connection.channel(), "assign", "q", str(number))
        with connect(tmp_path) as consumer:
            channel: Any = consumer.channel()
            taken = [channel.basic_get("q") for _ in range(4)]
            channel.basic_ack(taken[2].delivery_tag, multiple=True)

        assert bodies(connection.channel(), "q") == ["3", "4"]


def test_a_consumer_receives_no_more_than_its_prefetch_window(connection: Connection) -> None:
    channel: Any = connection.channel()
    declare(channel, "assign", "direct", {"q": "q"})
    for number in range(3):
        publish(channel, "assign", "q", str(number))
    received: list[Any] = []
    channel.basic_qos(0, 2, False)
    channel.basic_consume("q", no_ack=False, callback=received.append, consumer_tag="1")

    for _ in range(2):
        connection.drain_events(timeout=1)
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.01)

    assert [bytes(message.body) for message in received] == [b"0", b"1"]
