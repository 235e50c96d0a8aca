"""The broker as the platform sees it: its topology, and each node's login.

Two brokers can stand behind `settings.BROKER_URL`. RabbitMQ needs the administrator's
login in `settings.BROKER_MANAGEMENT_URL`, and holds the trust boundary: a user of its own
for each node. The embedded file broker has no users; it is for trying things out.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from django.conf import settings
from kombu import Connection, Queue
from kombu.exceptions import KombuError
from kombu.utils.url import parse_url

from tasks import passwords, queues, rabbitmq
from workers.protocol import filebroker, routes, tls

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0


class BrokerUnavailable(Exception):
    """The broker cannot be reached, or refused what the platform asked of it."""


@dataclass(frozen=True)
class BrokerLogin:
    """What a node needs to connect; `url` holds no login."""

    url: str
    username: str
    password: str = field(repr=False)
    vhost: str
    queue: str


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """One queue of the platform; what the broker does not know, or was not asked, is None."""

    name: str
    ready: int
    unacknowledged: int | None
    consumers: int | None
    #: When its oldest message was sent; only of messages that say so.
    oldest_at: datetime | None


def declare_topology() -> None:
    """Make every exchange, queue and binding of the platform; again changes nothing.

    On RabbitMQ also the virtual host and the platform's own user with its rights, both as
    `settings.BROKER_URL` names them.

    Raises:
        BrokerUnavailable: some of it may have been made; call again.
    """
    if is_rabbitmq():
        _declare_on_rabbitmq()
        return
    with _channel() as channel:
        for exchange in queues.EXCHANGES:
            channel.exchange_declare(exchange=exchange.name, type=exchange.type, durable=True)
        for queue in queues.PLATFORM_QUEUES:
            _declare_by_channel(channel, queue, keys=())


def provision_node(*, node_id: str, kinds: Sequence[str]) -> BrokerLogin:
    """Make the node's queue and its login, with a fresh password; again renews both.

    The queue hears of its own assignments and of announced jobs of these kinds. With an
    authority the password is good once its hash is on the node's row.

    Raises:
        BrokerUnavailable: call again; nothing half made can be used to log in.
    """
    password = passwords.make() if is_rabbitmq() else ""
    hashed = passwords.hashed(password) if password else ""
    admit_node(node_id=node_id, kinds=kinds, password_hash=hashed)
    return node_login(node_id=node_id, password=password)


def node_login(*, node_id: str, password: str) -> BrokerLogin:
    """Return what the node is told; asks no broker."""
    username, queue = routes.broker_username(node_id), queues.node_queue(node_id)
    if not is_rabbitmq():
        return BrokerLogin(settings.BROKER_URL, username, "", "/", queue.name)
    return BrokerLogin(_node_url(), username, password, vhost(), queue.name)


def admit_node(*, node_id: str, kinds: Sequence[str], password_hash: str) -> None:
    """Make the node's queue and open its login; what is there stays as it is.

    Raises:
        BrokerUnavailable: call again.
    """
    restore_node(node_id=node_id, kinds=kinds)
    if not is_rabbitmq():
        return
    with _management() as api:
        rabbitmq.admit_node_user(
            api,
            node_id=node_id,
            password_hash=password_hash,
            asks_authority=bool(settings.BROKER_AUTHORITY),
        )
    logger.info("node admitted", extra={"node_id": node_id})


def restore_node(*, node_id: str, kinds: Sequence[str]) -> bool:
    """Make the node's queue with its bindings, unless it is there; say whether it was made.

    A queue that nobody reads for an hour is gone; the login is not touched.

    Raises:
        BrokerUnavailable: call again.
    """
    queue = queues.node_queue(node_id)
    keys = [key for kind in kinds for key in queues.announcement_patterns(kind, node_id=node_id)]
    if not is_rabbitmq():
        with _channel() as channel:
            _declare_by_channel(channel, queue, keys=keys)
        return True
    with _management() as api:
        was_there = rabbitmq.has_queue(api, name=queue.name)
        if not was_there:
            rabbitmq.declare_queue(api, queue)
        rabbitmq.rebind(api, queue=queue.name, exchange=queues.ANNOUNCE.name, routing_keys=keys)
    return not was_there


def shut_out_node(*, node_id: str) -> None:
    """Close the node's connections and its login, at once; `admit_node` opens it again.

    Its queue goes too: nothing may wait there for it.

    Raises:
        BrokerUnavailable: the node may still be connected; call again.
    """
    queue = queues.node_queue(node_id)
    if not is_rabbitmq():
        with _channel() as channel:
            channel.queue_delete(queue=queue.name)
        return
    with _management() as api:
        rabbitmq.shut_out_node_user(api, node_id=node_id)
        rabbitmq.delete_queue(api, name=queue.name)
    logger.info("node shut out", extra={"node_id": node_id})


def revoke_node(*, node_id: str) -> None:
    """Shut the node out and remove its login for good. A node that is gone is fine.

    Raises:
        BrokerUnavailable: the node may still be connected; call again.
    """
    shut_out_node(node_id=node_id)
    if is_rabbitmq():
        with _management() as api:
            rabbitmq.drop_node_user(api, node_id=node_id)


def is_rabbitmq() -> bool:
    """Say which broker it is.

    Raises:
        BrokerUnavailable: RabbitMQ without an administrator's login.
    """
    if not settings.BROKER_URL.startswith("amqp"):
        return False
    if not settings.BROKER_MANAGEMENT_URL:
        raise BrokerUnavailable("RabbitMQ needs BROKER_MANAGEMENT_URL as well.")
    return True


def vhost() -> str:
    """Return the virtual host of the platform."""
    return str(parse_url(settings.BROKER_URL)["virtual_host"] or "/")


def trouble(timeout_seconds: float) -> str:
    """Say in a sentence why the broker cannot be used; empty when it can.

    It opens a channel, and asks RabbitMQ for its alarms: one that is short of memory or disk
    still lets everybody in, and takes no messages.
    """
    try:
        with _channel(timeout_seconds=timeout_seconds):
            pass
        if not is_rabbitmq():
            return ""
        with _management() as api:
            short_of = rabbitmq.alarms(api)
    except BrokerUnavailable:
        return "It does not answer."
    return f"It is short of {' and '.join(short_of)} and takes no messages." if short_of else ""


def queue_depths(*, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, int]:
    """Return how many messages wait in each of the platform's queues.

    Raises:
        BrokerUnavailable: also when the topology was never declared.
    """
    with _channel(timeout_seconds=timeout_seconds) as channel:
        return {
            queue.name: channel.queue_declare(queue=queue.name, passive=True).message_count
            for queue in queues.PLATFORM_QUEUES
        }


def queue_states(*, timeout_seconds: float) -> list[QueueState]:
    """Ask RabbitMQ's management about the platform's queues; its figures are seconds old.

    Raises:
        BrokerUnavailable: it does not answer in time, or knows one of them not.
    """
    with _management(timeout_seconds=timeout_seconds) as api:
        return [
            QueueState(**rabbitmq.queue_state(api, name=queue.name))
            for queue in queues.PLATFORM_QUEUES
        ]


def _declare_on_rabbitmq() -> None:
    shared = not settings.BROKER_INGEST_URL
    logins = {settings.BROKER_URL: rabbitmq.SHARED_RIGHTS if shared else rabbitmq.PLATFORM_RIGHTS}
    if not shared:
        logins[settings.BROKER_INGEST_URL] = rabbitmq.INGEST_RIGHTS
    with _management() as api:
        rabbitmq.declare_vhost(api)
        for url, rights in logins.items():
            _declare_login(api, url, rights)
        for exchange in queues.EXCHANGES:
            rabbitmq.declare_exchange(api, exchange)
        for queue in queues.PLATFORM_QUEUES:
            rabbitmq.declare_queue(api, queue)


def _declare_login(api: rabbitmq.Api, url: str, rights: dict[str, str]) -> None:
    login = parse_url(url)
    if login["userid"] == urlsplit(settings.BROKER_MANAGEMENT_URL).username:
        return  # the administrator would lose its own rights
    rabbitmq.declare_platform_user(
        api, username=login["userid"], password=login["password"], rights=rights
    )


def _declare_by_channel(channel: Any, queue: Queue, *, keys: Sequence[str]) -> None:
    channel.queue_declare(queue=queue.name, durable=True, arguments=queue.queue_arguments)
    channel.queue_bind(queue.name, queue.exchange.name, queue.routing_key)
    for key in keys:
        channel.queue_bind(queue.name, queues.ANNOUNCE.name, key)


@contextlib.contextmanager
def _management(*, timeout_seconds: float = rabbitmq.TIMEOUT_SECONDS) -> Iterator[rabbitmq.Api]:
    url = settings.BROKER_MANAGEMENT_URL
    try:
        with rabbitmq.session(
            management_url=url, vhost=vhost(), timeout_seconds=timeout_seconds
        ) as api:
            yield api
    except rabbitmq.ManagementFailed as exc:
        raise BrokerUnavailable(str(exc)) from exc


@contextlib.contextmanager
def _channel(*, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Any]:
    options: dict[str, Any] = {}
    if settings.BROKER_URL.startswith(f"{filebroker.SCHEME}:"):
        options = filebroker.transport_options(settings.BROKER_URL)
    with Connection(
        settings.BROKER_URL,
        connect_timeout=timeout_seconds,
        transport_options=options,
        ssl=tls.options(settings.BROKER_URL),
    ) as connection:
        try:
            connection.connect()
            yield connection.default_channel
        except (AMQPError, KombuError, OSError) as exc:
            raise BrokerUnavailable(str(exc)) from exc


def _node_url() -> str:
    """Return the broker's address for nodes, without a login."""
    if settings.BROKER_NODE_URL:
        return str(settings.BROKER_NODE_URL)
    parts = urlsplit(settings.BROKER_URL)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
