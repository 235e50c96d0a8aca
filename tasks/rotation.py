"""A node's other key and broker password, taken only on the word of the key it has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from pydantic import ValidationError

from tasks import broker, dispatch, identity, networks, passwords, queues
from tasks.errors import Refused, WrongState
from tasks.models import Node
from tasks.nodes import KeyTaken
from workers.protocol import limits, messages, signatures

logger = logging.getLogger(__name__)

SKEW_MAX = timedelta(seconds=limits.CLOCK_SKEW_SECONDS_MAX)


class NotSigned(Refused):
    """The node's present key did not sign it, or the new one did not; or there is no such node."""

    code, status, field = "bad_signature", 403, "signature"


class Unreadable(Refused):
    """The request is signed and yet no request for this node."""

    code, status, field = "invalid_rotation", 422, "request"


class OutOfDate(Refused):
    """The request was used before, or the clock that dated it is wrong."""

    code, status, field = "out_of_date", 409, "request"


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What the node goes on with."""

    node: Node
    broker: broker.BrokerLogin
    #: Base64 of the platform's public key of today.
    platform_key: str


def rotate(
    *,
    node_id: str,
    request: str,
    signature: str,
    proof: str,
    now: datetime,
    address: str = "",
) -> Rotation:
    """Give the node a new broker password, and the new key that `request` names.

    `request` is a `messages.KeyRotation` as JSON, `signature` the present key's over it and
    `proof` the new key's. The old password and every open connection end at once. `address`:
    from where it asks; only its network is kept.

    Raises:
        NotSigned, Unreadable, OutOfDate, KeyTaken, WrongState: nothing was changed.
    """
    # The pattern first: an id from an address may hold what no database stores.
    is_id = queues.NODE_ID_PATTERN.fullmatch(node_id) is not None
    node = Node.objects.filter(pk=node_id).first() if is_id else None
    if node is None:
        raise NotSigned("There is no such node, or its key did not sign this.")
    wanted = _read(node, request, signature, proof)
    if abs(wanted.sent_at - now) > SKEW_MAX:
        raise OutOfDate("The clock that dated it differs too much from ours.")
    password = passwords.make() if broker.is_rabbitmq() else ""
    with transaction.atomic(durable=True):
        _store(node, wanted, password=password, now=now)
        networks.note(node_id=node.pk, address=address)
        dispatch.enforce_admission(node_id=node.pk)
    logger.info("node changed its keys", extra={"node_id": node.pk})
    return Rotation(
        node=Node.objects.get(pk=node.pk),
        broker=broker.node_login(node_id=node.pk, password=password),
        platform_key=identity.platform_public_key(),
    )


def _read(node: Node, request: str, signature: str, proof: str) -> messages.KeyRotation:
    body = request.encode(errors="replace")
    try:
        signatures.verify(body, signature, public_key=node.public_key)
    except signatures.BadSignature as exc:
        raise NotSigned("There is no such node, or its key did not sign this.") from exc
    try:
        wanted = messages.KeyRotation.model_validate_json(body)
        signatures.verify(body, proof, public_key=wanted.public_key)
    except ValidationError as exc:
        raise Unreadable("It is no request for other keys.") from exc
    except (signatures.BadSignature, signatures.BadKey) as exc:
        raise NotSigned("The new key did not sign this.") from exc
    if wanted.node != node.pk:
        raise Unreadable("It is the request of another node.")
    return wanted


def _store(node: Node, wanted: messages.KeyRotation, *, password: str, now: datetime) -> None:
    """Change the row if key, state and date still allow it; one of two callers wins."""
    standing = Node.objects.filter(
        pk=node.pk,
        public_key=node.public_key,
        state__in=[Node.State.ACTIVE, Node.State.PAUSED],
    )
    fresh = standing.filter(Q(rotation_sent_at=None) | Q(rotation_sent_at__lt=wanted.sent_at))
    try:
        with transaction.atomic():
            changed = fresh.update(
                public_key=wanted.public_key,
                broker_password_hash=passwords.hashed(password) if password else "",
                rotation_sent_at=wanted.sent_at,
                broker_behind_since=now,
            )
    except IntegrityError as exc:  # node_key_once
        raise KeyTaken("A node with this key is enrolled already.") from exc
    if changed:
        return
    if not standing.exists():
        raise WrongState(f"The node is {Node.objects.get(pk=node.pk).state}.")
    raise OutOfDate("This request, or a newer one, was used before.")
