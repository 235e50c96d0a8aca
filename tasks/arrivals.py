"""What nodes sent, from raw bytes to changed rows.

Each check is cheaper than the next and nothing is parsed before its sender is proven:
routing key against the broker-checked user, type and size, Ed25519, strict pydantic. A
message that fails is counted and dropped; its content never reaches a log.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from pydantic import ValidationError

from tasks import acks, dispatch, leases, reports, scheduling
from tasks.models import Node
from tasks.verification import verdicts
from workers.protocol import limits, messages, routes, signatures

logger = logging.getLogger(__name__)

MODELS: Mapping[str, type[messages.AckMessage | messages.Report | messages.Heartbeat]] = {
    "ack": messages.AckMessage,
    "report": messages.Report,
    "heartbeat": messages.Heartbeat,
}


class Dropped(Exception):
    """The message is not taken; the text is a short code for counting."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message as the broker delivered it. Only `user_id` is checked by RabbitMQ."""

    routing_key: str
    user_id: object
    content_type: object
    content_encoding: object
    signature: object
    #: Names of headers, to see compression.
    header_names: frozenset[str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a batch led to."""

    taken: int
    dropped: Counter[str]
    #: Replicas assigned because slots or nodes became free.
    assigned: int


@dataclass(frozen=True, kw_only=True)
class _Proven:
    message: messages.AckMessage | messages.Report | messages.Heartbeat
    body: str
    signature: str


def take(arrivals: Sequence[Arrival], *, now: datetime) -> Outcome:
    """Take a batch: facts first, then decisions, then new assignments.

    Everything is harmless when repeated, so a batch that dies halfway is simply delivered
    again; what it had not decided is decided by the sweeps.
    """
    dropped: Counter[str] = Counter()
    proven = list(_prove_all(arrivals, dropped))
    beats = [each.message for each in proven if isinstance(each.message, messages.Heartbeat)]
    with transaction.atomic():
        leases.renew(sorted(beats, key=lambda beat: (beat.node, beat.sent_at)), now=now)
    with transaction.atomic():
        acks.accept(
            [each.message for each in proven if isinstance(each.message, messages.AckMessage)],
            now=now,
        )
    with transaction.atomic():
        chunk_ids = reports.accept(_signed_reports(proven), now=now)
    for chunk_id in chunk_ids:
        verdicts.advance(chunk_id=chunk_id, now=now)
    assigned = scheduling.assign_ready(now=now) if proven else []
    with transaction.atomic():
        dispatch.receipt(reports=_receipts(proven))
    for code, count in dropped.items():
        logger.warning("dropped %d messages: %s", count, code)
    return Outcome(taken=len(proven), dropped=dropped, assigned=len(assigned))


def _prove_all(arrivals: Sequence[Arrival], dropped: Counter[str]) -> list[_Proven]:
    keys = _public_keys(arrivals)
    proven = []
    for arrival in arrivals:
        try:
            proven.append(prove(arrival, public_keys=keys))
        except Dropped as exc:
            dropped[str(exc)] += 1
    return proven


def prove(arrival: Arrival, *, public_keys: Mapping[str, str]) -> _Proven:
    """Check who sent it and read it.

    Raises:
        Dropped: with the code of the first rule it breaks.
    """
    kind, _, node_id = arrival.routing_key.partition(".")
    if kind not in MODELS:
        raise Dropped("unknown_kind")
    if arrival.user_id != routes.broker_username(node_id):
        raise Dropped("user_mismatch")
    # A tuple: what the file broker delivers need not be hashable.
    if arrival.content_type != "application/json" or arrival.content_encoding not in (
        None,
        "utf-8",
    ):
        raise Dropped("content_type")
    if "compression" in arrival.header_names:
        raise Dropped("compressed")
    if len(arrival.body) > limits.MESSAGE_BYTES_MAX:
        raise Dropped("too_large")
    if node_id not in public_keys:
        raise Dropped("unknown_node")
    try:
        signatures.verify(arrival.body, arrival.signature, public_key=public_keys[node_id])
    except signatures.BadSignature as exc:
        raise Dropped("bad_signature") from exc
    try:
        message = MODELS[kind].model_validate_json(arrival.body)
    except (ValidationError, RecursionError) as exc:
        raise Dropped("invalid") from exc
    if message.node != node_id:
        raise Dropped("node_mismatch")
    return _Proven(message=message, body=arrival.body.decode(), signature=str(arrival.signature))


def _public_keys(arrivals: Sequence[Arrival]) -> dict[str, str]:
    """Read the keys of the nodes that may speak: active or paused ones."""
    node_ids = {arrival.routing_key.partition(".")[2] for arrival in arrivals}
    return dict(
        Node.objects.filter(
            pk__in=node_ids, state__in=[Node.State.ACTIVE, Node.State.PAUSED]
        ).values_list("pk", "public_key")
    )


def _receipts(proven: Sequence[_Proven]) -> dict[str, list[messages.ReportName]]:
    """Name by node all reports that were dealt with: taken, refused, doubled or too late."""
    names: defaultdict[str, list[messages.ReportName]] = defaultdict(list)
    for each in proven:
        if isinstance(each.message, messages.Report):
            name = messages.ReportName(assignment=each.message.assignment, nonce=each.message.nonce)
            names[each.message.node].append(name)
    return dict(names)


def _signed_reports(proven: Sequence[_Proven]) -> list[reports.SignedReport]:
    return [
        reports.SignedReport(report=each.message, body=each.body, signature=each.signature)
        for each in proven
        if isinstance(each.message, messages.Report)
    ]
