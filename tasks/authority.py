"""What a node may do at the broker: the answers to RabbitMQ's questions.

RabbitMQ asks at each login, and for each resource when a channel first uses it (then it
remembers: a channel's whole life, and the answers' cache for some seconds). So a refusal
here stops new connections at once and open ones not at all; see `tasks.admission`.

Policy: one virtual host; configure nothing; read only `node.<id>`; write only `ingress`,
under the keys `ack.<id>`, `report.<id>` and `heartbeat.<id>`. Everything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks import broker, networks, passwords, queues
from tasks.models import Node
from workers.protocol import routes

_PREFIX = routes.broker_username("")
_ADMITTED = (Node.State.ACTIVE, Node.State.PAUSED)


def allows(question: str, fields: Mapping[str, str]) -> bool:
    """Answer RabbitMQ's `question` (user, vhost, resource or topic) about `fields`.

    One query, two when a node enters: then RabbitMQ says from where, and its network is
    kept. A field that is missing counts as empty; an unknown question is no.
    """
    username = fields.get("username", "")
    if question == "user":
        return _may_log_in(username, fields.get("password", ""))
    if fields.get("vhost") != broker.vhost() or not _is_known(username):
        return False
    node_id = username.removeprefix(_PREFIX)
    wanted = (fields.get("resource", ""), fields.get("name", ""), fields.get("permission", ""))
    if question == "vhost":
        networks.note(node_id=node_id, address=fields.get("ip", ""))
        return True
    if question == "resource":
        own_queue = ("queue", routes.node_queue_name(node_id), "read")
        return wanted in {own_queue, ("exchange", queues.INGRESS.name, "write")}
    if question == "topic":
        keys = {routes.ingress_key(kind, node_id) for kind in routes.KINDS}
        is_ingress = wanted == ("topic", queues.INGRESS.name, "write")
        return is_ingress and fields.get("routing_key", "") in keys
    return False


def _may_log_in(username: str, password: str) -> bool:
    """Compare with the node's hash, or with nobody's for as long."""
    kept = ""
    if _is_name(username):
        node_id = username.removeprefix(_PREFIX)
        found = Node.objects.filter(pk=node_id, state__in=_ADMITTED)
        kept = found.values_list("broker_password_hash", flat=True).first() or ""
    return passwords.matches(password, kept)


def _is_known(username: str) -> bool:
    node_id = username.removeprefix(_PREFIX)
    return _is_name(username) and Node.objects.filter(pk=node_id, state__in=_ADMITTED).exists()


def _is_name(username: str) -> bool:
    has_prefix = username.startswith(_PREFIX)
    return has_prefix and bool(queues.NODE_ID_PATTERN.fullmatch(username.removeprefix(_PREFIX)))
