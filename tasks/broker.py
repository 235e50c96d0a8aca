"""The broker as the platform sees it: its topology, and each node's login.

Two brokers can stand behind `settings.BROKER_URL`. RabbitMQ needs the administrator's
login in `settings.BROKER_MANAGEMENT_URL`, and holds the trust boundary: a user of its own
for each node. The embedded file broker has no users; it is for trying things out.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from django.conf import settings
from kombu import Connection, Queue
from kombu.exceptions import KombuError
from kombu.utils.url import parse_url

from tasks import queues, rabbitmq
from workers.protocol import filebroker, routes

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
NODE_PASSWORD_BYTES = 32


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


def declare_topology() -> None:
    """Make every exchange, queue and binding of the platform; again changes nothing.

    On RabbitMQ also the virtual host and the platform's own user with its rights, both as
    `settings.BROKER_URL` names them.

    Raises:
        BrokerUnavailable: some of it may have been made; call again.
    """
    if _is_rabbitmq():
        _declare_on_rabbitmq()
        return
    with _channel() as channel:
        for exchange in queues.EXCHANGES:
            channel.exchange_declare(exchange=exchange.name, type=exchange.type, durable=True)
        for queue in queues.PLATFORM_QUEUES:
            _declare_by_channel(channel, queue, keys=())


def provision_node(*, node_id: str, kinds: Sequence[str]) -> BrokerLogin:
    """Make the node's queue and its login, with a fresh password; again renews both.

    The queue hears of its own assignments and of announced jobs of these kinds.

    Raises:
        BrokerUnavailable: call again; nothing half made can be used to log in.
    """
    queue = queues.node_queue(node_id)
    keys = [queues.announcement_pattern(kind) for kind in kinds]
    username = routes.broker_username(node_id)
    if not _is_rabbitmq():
        with _channel() as channel:
            _declare_by_channel(channel, queue, keys=keys)
        return BrokerLogin(settings.BROKER_URL, username, "", "/", queue.name)
    password = secrets.token_urlsafe(NODE_PASSWORD_BYTES)
    with _management() as api:
        rabbitmq.declare_queue(api, queue)
        rabbitmq.rebind(api, queue=queue.name, exchange=queues.ANNOUNCE.name, routing_keys=keys)
        rabbitmq.put_node_user(api, node_id=node_id, password=password)
        logger.info("node provisioned", extra={"node_id": node_id})
        return BrokerLogin(_node_url(), username, password, api.vhost, queue.name)


def revoke_node(*, node_id: str) -> None:
    """Close the node's connections and remove its login and queue, at once.

    A node that is already gone is fine.

    Raises:
        BrokerUnavailable: the node may still be connected; call again.
    """
    queue = queues.node_queue(node_id)
    if not _is_rabbitmq():
        with _channel() as channel:
            channel.queue_delete(queue=queue.name)
        return
    with _management() as api:
        rabbitmq.drop_node_user(api, node_id=node_id)
        rabbitmq.delete_queue(api, name=queue.name)
    logger.info("node revoked", extra={"node_id": node_id})


def is_reachable(timeout_seconds: float) -> bool:
    """Say whether the platform can open a channel within the time given."""
    try:
        with _channel(timeout_seconds=timeout_seconds):
            return True
    except BrokerUnavailable:
        return False


def queue_depths() -> dict[str, int]:
    """Return how many messages wait in each of the platform's queues.

    Raises:
        BrokerUnavailable: also when the topology was never declared.
    """
    with _channel() as channel:
        return {
            queue.name: channel.queue_declare(queue=queue.name, passive=True).message_count
            for queue in queues.PLATFORM_QUEUES
        }


def _is_rabbitmq() -> bool:
    """Say which broker it is.

    Raises:
        BrokerUnavailable: RabbitMQ without an administrator's login.
    """
    if not settings.BROKER_URL.startswith("amqp"):
        return False
    if not settings.BROKER_MANAGEMENT_URL:
        raise BrokerUnavailable("RabbitMQ needs BROKER_MANAGEMENT_URL as well.")
    return True


def _declare_on_rabbitmq() -> None:
    platform = parse_url(settings.BROKER_URL)
    administrator = urlsplit(settings.BROKER_MANAGEMENT_URL).username
    with _management() as api:
        rabbitmq.declare_vhost(api)
        if platform["userid"] != administrator:  # else it would lose its own rights
            rabbitmq.declare_platform_user(
                api, username=platform["userid"], password=platform["password"]
            )
        for exchange in queues.EXCHANGES:
            rabbitmq.declare_exchange(api, exchange)
        for queue in queues.PLATFORM_QUEUES:
            rabbitmq.declare_queue(api, queue)


def _declare_by_channel(channel: Any, queue: Queue, *, keys: Sequence[str]) -> None:
    channel.queue_declare(queue=queue.name, durable=True, arguments=queue.queue_arguments)
    channel.queue_bind(queue.name, queue.exchange.name, queue.routing_key)
    for key in keys:
        channel.queue_bind(queue.name, queues.ANNOUNCE.name, key)


@contextlib.contextmanager
def _management() -> Iterator[rabbitmq.Api]:
    vhost = parse_url(settings.BROKER_URL)["virtual_host"] or "/"
    try:
        with rabbitmq.session(management_url=settings.BROKER_MANAGEMENT_URL, vhost=vhost) as api:
            yield api
    except rabbitmq.ManagementFailed as exc:
        raise BrokerUnavailable(str(exc)) from exc


@contextlib.contextmanager
def _channel(*, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Any]:
    options: dict[str, Any] = {}
    if settings.BROKER_URL.startswith(f"{filebroker.SCHEME}:"):
        options = filebroker.transport_options(settings.BROKER_URL)
    with Connection(
        settings.BROKER_URL, connect_timeout=timeout_seconds, transport_options=options
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
