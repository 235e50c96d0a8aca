"""RabbitMQ's management API: the topology, and one user for each node.

Only this module holds the administrator's login; workers and ingest run as users that
may configure nothing. Every call is idempotent and bounded in time.

A node's user may read its own queue and write `ingress` under its own keys, nothing else.
RabbitMQ asks the authority for that (`tasks.authority`); the user itself has no password
and no rights, and is there because RabbitMQ's limits need one. For a broker that cannot
ask, password hash and rights are written into it.
What permissions cannot forbid (a passive declare, CC headers) is harmless, because ingest
believes only the delivered key together with the broker-checked `user_id`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from kombu import Exchange, Queue

from tasks import queues
from workers.protocol import routes

TIMEOUT_SECONDS = 5.0
#: A node needs one connection to consume, one to publish, and one while it reconnects.
NODE_CONNECTIONS_MAX = 3
NODE_CHANNELS_MAX = 6

#: Portal, workers and what ingest publishes: no queue that nodes write to.
PLATFORM_RIGHTS = {
    "configure": "^$",
    "write": "^(announce|assign|internal)$",
    "read": r"^platform\.(work|referee)$",
}
INGEST_RIGHTS = {
    "configure": "^$",
    "write": "^$",
    "read": r"^platform\.(reports|acks|heartbeats)$",
}
#: One user for both.
SHARED_RIGHTS = {**PLATFORM_RIGHTS, "read": r"^platform\..*$"}


class ManagementFailed(Exception):
    """The management API cannot be reached or refused a call."""


class Api:
    """One session with the management API, speaking about one virtual host."""

    def __init__(self, client: httpx.Client, *, vhost: str) -> None:
        self._client = client
        self.vhost = vhost

    def put(self, *path: str, body: dict[str, Any] | None = None) -> None:
        self._call("PUT", path, body=body or {})

    def post(self, *path: str, body: dict[str, Any]) -> None:
        self._call("POST", path, body=body)

    def get(self, *path: str) -> Any:
        return self._call("GET", path).json()

    def check(self, *path: str) -> Any:
        """Return what one of RabbitMQ's own health checks says, good or bad."""
        return self._call("GET", ("health", "checks", *path), expected=503).json()

    def exists(self, *path: str) -> bool:
        """Say whether there is such a thing."""
        return self._call("GET", path, expected=404).status_code != 404

    def delete(self, *path: str) -> None:
        """Delete; what is already gone is fine."""
        self._call("DELETE", path, expected=404)

    def _call(
        self,
        method: str,
        path: Sequence[str],
        *,
        body: dict[str, Any] | None = None,
        expected: int = 200,
    ) -> httpx.Response:
        url = "/api/" + "/".join(quote(part, safe="") for part in path)
        try:
            response = self._client.request(method, url, json=body)
        except httpx.HTTPError as exc:
            raise ManagementFailed(f"{method} {url}: {type(exc).__name__}") from exc
        if response.is_success or response.status_code == expected:
            return response
        raise ManagementFailed(f"{method} {url}: {response.status_code} {response.text[:200]}")


@contextlib.contextmanager
def session(
    *, management_url: str, vhost: str, timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[Api]:
    """Yield an `Api` for `http://admin:password@host:port`."""
    parts = urlsplit(management_url)
    host = parts.netloc.rpartition("@")[2]
    login = httpx.URL(management_url)
    with httpx.Client(
        base_url=urlunsplit((parts.scheme, host, parts.path, "", "")),
        auth=(login.username, login.password),
        timeout=timeout_seconds,
    ) as client:
        yield Api(client, vhost=vhost)


def alarms(api: Api) -> list[str]:
    """Return what a broker of the cluster is short of: `memory`, `disk space`."""
    found = api.check("alarms").get("alarms", [])
    return sorted({str(alarm["resource"]) for alarm in found})


def declare_vhost(api: Api) -> None:
    """Make the virtual host, unless it is there."""
    api.put("vhosts", api.vhost)


def declare_platform_user(
    api: Api, *, username: str, password: str, rights: dict[str, str]
) -> None:
    """Make a login of the platform's own, with the least rights it can do with."""
    api.put("users", username, body={"password": password, "tags": ""})
    api.put("permissions", api.vhost, username, body=rights)


def declare_exchange(api: Api, exchange: Exchange) -> None:
    """Make a durable exchange."""
    api.put("exchanges", api.vhost, exchange.name, body={"type": exchange.type, "durable": True})


def declare_queue(api: Api, queue: Queue) -> None:
    """Make a durable queue and bind it to its own exchange."""
    arguments = queue.queue_arguments
    api.put("queues", api.vhost, queue.name, body={"durable": True, "arguments": arguments})
    bind(api, queue=queue.name, exchange=queue.exchange.name, routing_key=queue.routing_key)


def bind(api: Api, *, queue: str, exchange: str, routing_key: str) -> None:
    """Bind the queue; a second time changes nothing."""
    path = ("bindings", api.vhost, "e", exchange, "q", queue)
    api.post(*path, body={"routing_key": routing_key})


def rebind(api: Api, *, queue: str, exchange: str, routing_keys: Sequence[str]) -> None:
    """Make exactly these the queue's bindings to the exchange."""
    path = ("bindings", api.vhost, "e", exchange, "q", queue)
    for routing_key in routing_keys:
        bind(api, queue=queue, exchange=exchange, routing_key=routing_key)
    for binding in api.get(*path):
        if binding["routing_key"] not in routing_keys:
            api.delete(*path, binding["properties_key"])


def admit_node_user(api: Api, *, node_id: str, password_hash: str, asks_authority: bool) -> None:
    """Open a node's login: limits and rights first, so it never has more.

    `password_hash` (`tasks.passwords`) is installed only where RabbitMQ cannot ask the
    authority; else the user has no password of its own, so that no login bypasses it.
    """
    username = routes.broker_username(node_id)
    api.put("users", username, body={"password_hash": "", "tags": ""})
    api.put("user-limits", username, "max-channels", body={"value": NODE_CHANNELS_MAX})
    if asks_authority:
        api.delete("permissions", api.vhost, username)
        api.delete("topic-permissions", api.vhost, username)
    else:
        _put_node_rights(api, node_id=node_id)
    api.put("user-limits", username, "max-connections", body={"value": NODE_CONNECTIONS_MAX})
    if not asks_authority:
        algorithm = "rabbit_password_hashing_sha256"
        login = {"password_hash": password_hash, "hashing_algorithm": algorithm, "tags": ""}
        api.put("users", username, body=login)


def _put_node_rights(api: Api, *, node_id: str) -> None:
    username = routes.broker_username(node_id)
    own_queue = re.escape(routes.node_queue_name(node_id))
    api.put(
        "permissions",
        api.vhost,
        username,
        body={"configure": "^$", "write": "^ingress$", "read": f"^{own_queue}$"},
    )
    keys = rf"^({'|'.join(routes.KINDS)})\.{re.escape(node_id)}$"
    api.put(
        "topic-permissions",
        api.vhost,
        username,
        body={"exchange": queues.INGRESS.name, "write": keys, "read": "^$"},
    )


def shut_out_node_user(api: Api, *, node_id: str) -> None:
    """Cut a node off at once; the authority must say no before, or it would be let in again.

    In this order: the password and all connections are forbidden, then the open connections
    are closed, so that no reconnecting loop slips through. Blanking the password also makes
    the user if it is gone: limits need one.
    """
    username = routes.broker_username(node_id)
    api.put("users", username, body={"password_hash": "", "tags": ""})
    api.put("user-limits", username, "max-connections", body={"value": 0})
    api.delete("connections", "username", username)


def drop_node_user(api: Api, *, node_id: str) -> None:
    """Remove a node's user after it was shut out."""
    api.delete("users", routes.broker_username(node_id))


def has_queue(api: Api, *, name: str) -> bool:
    """Say whether the queue is there."""
    return api.exists("queues", api.vhost, name)


def queue_state(api: Api, *, name: str) -> dict[str, Any]:
    """Return a queue's name, ready, unacknowledged, consumers and oldest_at."""
    found = api.get("queues", api.vhost, name)
    sent_at = found.get("head_message_timestamp")
    return {
        "name": name,
        # Nothing is counted in the first seconds of a queue.
        "ready": int(found.get("messages_ready", 0)),
        "unacknowledged": int(found.get("messages_unacknowledged", 0)),
        "consumers": int(found.get("consumers", 0)),
        "oldest_at": datetime.fromtimestamp(sent_at, UTC) if sent_at else None,
    }


def delete_queue(api: Api, *, name: str) -> None:
    """Remove a queue and what waits in it."""
    api.delete("queues", api.vhost, name)
