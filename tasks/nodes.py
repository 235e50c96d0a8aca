"""A node's life: enrolled with a one-time token, paused, resumed, suspended, retired."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from pydantic import ValidationError

from tasks import broker, catalog, dispatch, identity, leases, networks, passwords, queues
from tasks.errors import Refused, WrongState
from tasks.models import CatalogModel, EnrollmentToken, Node
from tasks.reasons import NodeReason
from workers.protocol import limits, messages, signatures
from workers.protocol.allowance import Allowance

logger = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(minutes=15)
#: The models named at enrolment can be fetched for this long.
MODELS_LIFE = timedelta(hours=1)
SKEW_MAX = timedelta(seconds=limits.CLOCK_SKEW_SECONDS_MAX)
NAME_LENGTH_MAX = 80
HARDWARE_ENTRIES_MAX = 32
#: States in which the node's page may ask it for something.
_STEERED = (Node.State.ACTIVE, Node.State.PAUSED)


class BadToken(Refused):
    """The enrolment token is unknown, used or expired."""

    code, status, field = "token_invalid", 403, "token"


class BadPublicKey(Refused):
    """The public key is not base64 of 32 raw Ed25519 bytes."""

    code, status, field = "invalid_public_key", 422, "public_key"


class KeyTaken(Refused):
    """A node with this key is enrolled already."""

    code, status, field = "key_taken", 409, "public_key"


class NotTheNode(Refused):
    """The request does not prove that it comes from this node."""

    code, status = "bad_signature", 403


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """Shown once; only its hash is kept."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """What a new node needs to begin."""

    node: Node
    broker: broker.BrokerLogin
    #: Base64 of the platform's public key; the node pins it.
    platform_key: str
    #: Built-in models worth fetching before the first job.
    models: list[messages.ModelReference]


def issue_token(*, owner_id: int, now: datetime) -> IssuedToken:
    """Make a token that enrols one node for `owner_id` within 15 minutes."""
    token = f"nfe_{secrets.token_urlsafe(24)}"
    expires_at = now + TOKEN_LIFE
    EnrollmentToken.objects.create(
        owner_id=owner_id, token_hash=_hash(token), expires_at=expires_at
    )
    return IssuedToken(token=token, expires_at=expires_at)


def enroll(
    *,
    token: str,
    name: str,
    public_key: str,
    hardware: Mapping[str, Any],
    now: datetime,
    address: str = "",
) -> Enrollment:
    """Let a machine in: use up the token, bind the key to its owner, open the broker.

    `address`: from where it asks; only its network is kept.

    The broker is asked inside the transaction on purpose: without its login the node would
    be lost, so a broker that is away rolls everything back and the token stays good.

    Raises:
        BadToken, BadPublicKey, KeyTaken: nothing was changed.
        tasks.broker.BrokerUnavailable: nothing was changed; try again.
    """
    try:
        signatures.load_public(public_key)
    except signatures.BadKey as exc:
        raise BadPublicKey(str(exc)) from exc
    with transaction.atomic(durable=True):
        used = EnrollmentToken.objects.filter(
            token_hash=_hash(token), used_at=None, expires_at__gt=now
        ).update(used_at=now)
        if used == 0:
            raise BadToken("The token is unknown, used or expired; make a new one.")
        node = _create(token=token, name=name, public_key=public_key, hardware=hardware)
        networks.note(node_id=node.pk, address=address)
        login = broker.provision_node(node_id=node.pk, kinds=queues.NODE_KINDS)
        _keep_password(node, login)
    logger.info("node enrolled", extra={"node_id": node.pk})
    return Enrollment(
        node=node,
        broker=login,
        platform_key=identity.platform_public_key(),
        models=[
            catalog.reference(model, audience=node.pk, expires_at=now + MODELS_LIFE)
            for model in CatalogModel.objects.filter(owner=None, is_offered=True).order_by("pk")
        ],
    )


def pause(*, node_id: str, now: datetime) -> Node:
    """Give the node no new work and tell it so; what it holds it may finish.

    Raises:
        WrongState: it is not active.
    """
    with transaction.atomic(durable=True):
        _move(node_id, sources=[Node.State.ACTIVE], target=Node.State.PAUSED, now=now)
        return _settings_changed(node_id)


def resume(*, node_id: str, now: datetime) -> Node:
    """Give a paused node work again.

    Raises:
        WrongState: it is not paused.
    """
    with transaction.atomic(durable=True):
        _move(node_id, sources=[Node.State.PAUSED], target=Node.State.ACTIVE, now=now)
        node = _settings_changed(node_id)
        dispatch.sweep()
    return node


def set_wishes(*, node_id: str, wishes: Allowance) -> Node:
    """Ask the node to keep to these limits; its own file may be stricter still.

    Raises:
        WrongState: it was suspended or retired.
    """
    with transaction.atomic(durable=True):
        return _ask(node_id, wishes)


def change_wishes(*, node_id: str, changes: Mapping[str, Any]) -> Node:
    """Change some of the limits the node is asked to keep to; None takes a limit away.

    The values must be ones an `Allowance` takes. What changes nothing is not sent.

    Raises:
        WrongState: it was suspended or retired.
    """
    with transaction.atomic(durable=True):
        # Locked, so that of two changes of different limits neither is lost.
        node = Node.objects.select_for_update(of=("self",), no_key=True).get(pk=node_id)
        kept = {name: value for name, value in node.wishes.items() if name not in changes}
        asked = {name: value for name, value in changes.items() if value is not None}
        wishes = Allowance(**kept, **asked)
        if wishes == Allowance(**node.wishes) and node.state in _STEERED:
            return node
        return _ask(node_id, wishes)


def leave(*, node_id: str, body: bytes, signature: object, now: datetime) -> None:
    """Retire a node that asks for it itself, proven by its key; again changes nothing.

    Raises:
        NotTheNode: the request is not this node's, or not of these minutes.
    """
    node = prove(messages.Leave, node_id=node_id, body=body, signature=signature, now=now)
    if node.state != Node.State.RETIRED:
        retire(node_id=node_id, now=now)


def prove(
    kind: type[messages.Leave] | type[messages.Inquiry],
    *,
    node_id: str,
    body: bytes,
    signature: object,
    now: datetime,
) -> Node:
    """Return the node whose key signed this request of this kind, whatever its state.

    Raises:
        NotTheNode: the request is not this node's, or not of these minutes.
    """
    # The pattern first: an id from an address may hold what no database stores.
    is_id = queues.NODE_ID_PATTERN.fullmatch(node_id) is not None
    node = Node.objects.filter(pk=node_id).first() if is_id else None
    if node is None:
        raise NotTheNode("The request is not signed by this node.")
    try:
        signatures.verify(body, signature, public_key=node.public_key)
        request = kind.model_validate_json(body)
    except (signatures.BadSignature, ValidationError) as exc:
        raise NotTheNode("The request is not signed by this node.") from exc
    if request.node != node_id or abs(request.sent_at - now) > SKEW_MAX:
        raise NotTheNode("The request is another node's, or the machine's clock is wrong.")
    return node


def retire(*, node_id: str, now: datetime) -> Node:
    """End the node for good: its leases are taken back, its broker access is revoked.

    Raises:
        WrongState: it is retired already.
    """
    return _remove(node_id, target=Node.State.RETIRED, now=now)


def suspend(*, node_id: str, now: datetime, reason: NodeReason = NodeReason.SUSPENDED) -> Node:
    """Stop a node as staff, or by itself for `reason`; `reinstate` undoes it.

    Raises:
        WrongState: it is suspended or retired already.
    """
    return _remove(node_id, target=Node.State.SUSPENDED, now=now, reason=reason)


def reinstate(*, node_id: str, now: datetime) -> Node:
    """Let a suspended node back in, with its key and broker password as they were.

    Raises:
        WrongState: it is not suspended.
    """
    with transaction.atomic(durable=True):
        node = _move(node_id, sources=[Node.State.SUSPENDED], target=Node.State.ACTIVE, now=now)
        dispatch.enforce_admission(node_id=node_id)
    return node


def _ask(node_id: str, wishes: Allowance) -> Node:
    """Write down the wishes and send them. Runs inside the caller's transaction."""
    changed = Node.objects.filter(pk=node_id, state__in=_STEERED).update(
        wishes=wishes.model_dump(mode="json", exclude_defaults=True)
    )
    if changed == 0:
        raise WrongState(f"The node is {Node.objects.get(pk=node_id).state}.")
    return _settings_changed(node_id)


def _remove(
    node_id: str, *, target: Node.State, now: datetime, reason: NodeReason | None = None
) -> Node:
    sources = [Node.State.ACTIVE, Node.State.PAUSED]
    if target == Node.State.RETIRED:
        sources.append(Node.State.SUSPENDED)
    with transaction.atomic(durable=True):
        node = _move(node_id, sources=sources, target=target, now=now, reason=reason)
        leases.end_all_of_node(node_id=node_id, now=now)
        dispatch.enforce_admission(node_id=node_id)
    return node


def _move(
    node_id: str,
    *,
    sources: list[Node.State],
    target: Node.State,
    now: datetime,
    reason: NodeReason | None = None,
) -> Node:
    """Change the state; entering or leaving the broker is carried out by `tasks.admission`."""
    admitted = {Node.State.ACTIVE, Node.State.PAUSED}
    fields: dict[str, Any] = {
        "state": target,
        "state_changed_at": now,
        "state_reason": reason or "",
    }
    if target not in admitted or not admitted.issuperset(sources):
        fields["broker_behind_since"] = now
    moved = Node.objects.filter(pk=node_id, state__in=sources).update(**fields)
    node = Node.objects.get(pk=node_id)
    if moved == 0:
        raise WrongState(f"The node is {node.state}.")
    logger.info("node is now %s", target.value, extra={"node_id": node_id})
    return node


def _settings_changed(node_id: str) -> Node:
    """Count the change and tell the node. Runs inside the caller's transaction."""
    Node.objects.filter(pk=node_id).update(settings_revision=F("settings_revision") + 1)
    dispatch.settings(node_ids=[node_id])
    return Node.objects.get(pk=node_id)


def _keep_password(node: Node, login: broker.BrokerLogin) -> None:
    hashed = passwords.hashed(login.password) if login.password else ""
    Node.objects.filter(pk=node.pk).update(broker_password_hash=hashed)


def _create(*, token: str, name: str, public_key: str, hardware: Mapping[str, Any]) -> Node:
    issued = EnrollmentToken.objects.get(token_hash=_hash(token))
    try:
        with transaction.atomic():
            node = Node.objects.create(
                owner_id=issued.owner_id,
                name=name[:NAME_LENGTH_MAX],
                public_key=public_key,
                hardware=dict(list(hardware.items())[:HARDWARE_ENTRIES_MAX]),
            )
    except IntegrityError as exc:  # node_key_once
        raise KeyTaken("A node with this key is enrolled already.") from exc
    EnrollmentToken.objects.filter(pk=issued.pk).update(node=node)
    return node


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
