"""What RabbitMQ itself refuses: other queues, other exchanges, other keys, other names."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from amqp import Message

from tests.hostile.scene import Case, Scene

READ = "a node reads only its own queue"
CONFIGURE = "a node configures nothing"
WRITE = "a node writes only to ingress, under its own keys"
NAMED = "the broker-checked user_id names the sender"
LOGIN = "only an admitted node with its password gets in, to one vhost"
LIMITS = "the broker bounds size, connections and channels"
FORBIDDEN = "broker 403"


def publish(channel: Any, exchange: str, key: str, body: str = "{}", **properties: Any) -> None:
    """Publish and wait for the broker's answer."""
    properties = {"content_type": "application/json", **properties}
    channel.confirm_select()
    channel.basic_publish_confirm(Message(body, **properties), exchange, key)


def _acts(queue: str) -> dict[str, Callable[[Any], object]]:
    return {
        "get from": lambda channel: channel.basic_get(queue),
        "consume": lambda channel: channel.basic_consume(queue),
        "purge": lambda channel: channel.queue_purge(queue),
        "delete": lambda channel: channel.queue_delete(queue),
        "bind to announce": lambda channel: channel.queue_bind(queue, "announce", "#"),
        "unbind": lambda channel: channel.queue_unbind(queue, "assign", queue),
    }


def _reading() -> list[Case]:
    cases = []
    for act, whose in itertools.product(_acts(""), ("the victim's", "the platform's work")):

        def attempt(scene: Scene, act: str = act, whose: str = whose) -> str:
            queue = scene.victim.login["queue"] if "victim" in whose else "platform.work"
            return scene.broker_says(_acts(queue)[act])

        rule = READ if act in {"get from", "consume", "purge"} else CONFIGURE
        cases.append(Case(f"{act} {whose} queue", rule, attempt, FORBIDDEN))
    for name in ("platform.reports", "platform.acks", "platform.heartbeats", "platform.dead"):

        def steal(scene: Scene, name: str = name) -> str:
            return scene.broker_says(lambda channel: channel.basic_get(name))

        cases.append(Case(f"get from {name}", READ, steal, FORBIDDEN))
    return cases


def _configuring() -> list[Case]:
    own = "delete its own queue", "bind its own queue to every announcement"
    acts: dict[str, Callable[[Any, str], object]] = {
        "declare a queue": lambda c, _: c.queue_declare("mine", auto_delete=False),
        "declare a queue with a server's name": lambda c, _: c.queue_declare(""),
        "declare an exchange": lambda c, _: c.exchange_declare("mine", "topic"),
        "declare its own queue anew": lambda c, q: c.queue_declare(q, auto_delete=True),
        own[0]: lambda c, q: c.queue_delete(q),
        own[1]: lambda c, q: c.queue_bind(q, "announce", "#"),
        "bind its own queue to ingress": lambda c, q: c.queue_bind(q, "ingress", "#"),
        "delete the ingress exchange": lambda c, _: c.exchange_delete("ingress"),
        "bind announce to ingress": lambda c, _: c.exchange_bind("announce", "ingress", "#"),
    }
    return [
        Case(
            name,
            CONFIGURE,
            lambda scene, act=act: scene.broker_says(
                lambda channel: act(channel, scene.attacker.login["queue"])
            ),
            FORBIDDEN,
        )
        for name, act in acts.items()
    ]


def _writing() -> list[Case]:
    targets = [
        ("ingress", "report.{victim}"),
        ("ingress", "ack.{victim}"),
        ("ingress", "heartbeat.{victim}"),
        ("ingress", "report.{own}.more"),
        ("ingress", "withdraw.{own}"),
        ("ingress", "#"),
        ("ingress", ""),
        ("assign", "node.{victim}"),
        ("assign", "node.{own}"),
        ("announce", "detect.0123456789abcdef"),
        ("internal", "work"),
        ("dead", ""),
        ("", "platform.work"),
        ("", "platform.reports"),
        ("", "node.{victim}"),
        ("amq.topic", "report.{own}"),
        ("amq.direct", "report.{own}"),
        ("amq.fanout", ""),
        ("amq.headers", ""),
    ]

    def attempt(scene: Scene, exchange: str, key: str) -> str:
        filled = key.format(own=scene.attacker.node_id, victim=scene.victim.node_id)
        return scene.broker_says(lambda channel: publish(channel, exchange, filled))

    return [
        Case(
            f"publish to {exchange or 'the default exchange'} as '{key}'",
            WRITE,
            lambda scene, exchange=exchange, key=key: attempt(scene, exchange, key),
            FORBIDDEN,
        )
        for exchange, key in targets
    ]


def _transaction(scene: Scene) -> str:
    def act(channel: Any) -> None:
        channel.tx_select()
        key = f"report.{scene.victim.node_id}"
        channel._basic_publish(Message("{}"), "ingress", key)  # not in confirm mode
        channel.tx_commit()

    return scene.broker_says(act)


def _spoof(scene: Scene) -> str:
    key = f"report.{scene.attacker.node_id}"
    user = scene.victim.login["username"]
    return scene.broker_says(lambda channel: publish(channel, "ingress", key, user_id=user))


def _fill(scene: Scene, body: str, **properties: Any) -> str:
    key = f"report.{scene.attacker.node_id}"
    return scene.broker_says(lambda c: publish(c, "ingress", key, body, **properties))


def _crowd(scene: Scene) -> str:
    """Open connections until one is refused; say which and how."""
    scene.wait_alone(scene.attacker)
    opened = []
    try:
        for number in range(1, 6):
            opened.append(scene.connection(scene.attacker))
            said = _connect(opened[-1])
            if said:
                return f"{said} at connection {number}"
    finally:
        for connection in opened:
            connection.release()
    return "allowed"


def _connect(connection: Any) -> str:
    try:
        connection.connect()
    except Exception as refused:  # noqa: BLE001  # whatever the client makes of it
        return f"broker {getattr(refused, 'code', type(refused).__name__)}"
    return ""


def _channels(scene: Scene) -> str:
    def act(channel: Any) -> None:
        for number in range(2, 10):
            channel.connection.channel(number).queue_declare("platform.work", passive=True)

    return scene.broker_says(act)


def _login(**changes: str) -> Callable[[Scene], str]:
    return lambda scene: scene.broker_says(lambda _: None, **changes)


def _as_the_victim(scene: Scene) -> str:
    return scene.broker_says(lambda _: None, userid=scene.victim.login["username"])


CASES = [
    *_reading(),
    *_configuring(),
    *_writing(),
    Case("publish for the victim inside a transaction", WRITE, _transaction, FORBIDDEN),
    Case("name the victim as the sender (user_id)", NAMED, _spoof, "broker 406"),
    Case("enter the vhost /", LOGIN, _login(virtual_host="/"), "broker 530"),
    Case("enter a vhost that is not there", LOGIN, _login(virtual_host="other"), "broker 530"),
    Case("log in with a guessed password", LOGIN, _login(password="guess"), FORBIDDEN),
    Case("log in with an empty password", LOGIN, _login(password=""), FORBIDDEN),
    Case("log in as the victim with its own password", LOGIN, _as_the_victim, FORBIDDEN),
    Case("log in as guest", LOGIN, _login(userid="guest", password="guest"), FORBIDDEN),
    Case(
        "ask the management API for the queues",
        LOGIN,
        lambda scene: scene.management_says("/api/queues"),
        "management 401",
    ),
    Case(
        "ask the management API for the users",
        LOGIN,
        lambda scene: scene.management_says("/api/users"),
        "management 401",
    ),
    Case("send 128 kB and one byte", LIMITS, lambda s: _fill(s, "x" * 131_073), "broker 406"),
    Case(
        "send 200 kB of headers",
        LIMITS,
        lambda s: _fill(s, "{}", application_headers={"bomb": "x" * 200_000}),
        "broker 501",
    ),
    Case("open a fourth connection", LIMITS, _crowd, "broker 530 at connection 4"),
    Case("open a seventh channel", LIMITS, _channels, "broker 530"),
]
