"""What nodes sent, from raw bytes to changed rows.

Each check is cheaper than the next and nothing is parsed before its sender is proven: the
node's share, routing key against the broker-checked user, type and size, Ed25519, strict
pydantic. A message that fails is counted and dropped; its content never reaches a log.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from pydantic import ValidationError

from tasks import acks, dispatch, floods, leases, nodes, reports, scheduling
from tasks.errors import WrongState
from tasks.models import Node
from tasks.reasons import NodeReason
from tasks.verification import batches, gold, strikes
from workers.protocol import limits, messages, routes, signatures

logger = logging.getLogger(__name__)

Message = messages.AckMessage | messages.Report | messages.Reports | messages.Heartbeat

READERS: Mapping[str, Callable[[bytes], Message]] = {
    "ack": messages.AckMessage.model_validate_json,
    "report": messages.read_reports,
    "heartbeat": messages.Heartbeat.model_validate_json,
}


#: Reports taken in one transaction: the knee of the measured curve. A batch of full messages
#: holds many more.
REPORTS_MAX = 200


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
    message: Message
    body: str
    signature: str


def take(
    arrivals: Sequence[Arrival],
    *,
    now: datetime,
    meter: floods.Meter | None = None,
    more_follow: bool = False,
) -> Outcome:
    """Take a batch: facts first, then decisions, then new assignments.

    Everything is harmless when repeated, so a batch that dies halfway is simply delivered
    again; what it had not decided is decided by the sweeps. `meter` counts what each node
    sends, over many batches; without one nobody sends too much. `more_follow`: the next
    batch is there already; after nothing but acks it is left to that one to give out work,
    so that a large fleet's acks are not late for it.
    """
    dropped: Counter[str] = Counter()
    admitted = _within_share(arrivals, meter, dropped, now=now) if meter else arrivals
    proven = list(_prove_all(admitted, dropped)) if admitted else []
    if not proven:  # a flood costs no further query
        return _outcome(0, dropped, [])
    _take_beats(proven, now=now)
    with transaction.atomic():
        acks.accept(
            [each.message for each in proven if isinstance(each.message, messages.AckMessage)],
            now=now,
        )
    if more_follow and all(isinstance(each.message, messages.AckMessage) for each in proven):
        return _outcome(len(proven), dropped, [])
    signed = signed_reports(proven)
    for start in range(0, len(signed), REPORTS_MAX):
        with transaction.atomic():
            chunk_ids = reports.accept(signed[start : start + REPORTS_MAX], now=now)
            gold.score(chunk_ids, now=now)
        batches.decide_all(chunk_ids, now=now)
    strikes.enforce(now=now)
    assigned = scheduling.assign_ready(now=now)
    with transaction.atomic():
        dispatch.receipt(reports=_receipts(proven))
    return _outcome(len(proven), dropped, assigned)


def _outcome(taken: int, dropped: Counter[str], assigned: Sequence[object]) -> Outcome:
    for code, count in dropped.items():
        logger.warning("dropped %d messages: %s", count, code)
    return Outcome(taken=taken, dropped=dropped, assigned=len(assigned))


def _within_share(
    arrivals: Sequence[Arrival], meter: floods.Meter, dropped: Counter[str], *, now: datetime
) -> list[Arrival]:
    """Leave out what nodes sent beyond their share, and cut those nodes off."""
    admitted: list[Arrival] = []
    flooding: set[str] = set()
    for arrival in arrivals:
        node_id = arrival.routing_key.partition(".")[2]
        if meter.admits(node_id, size_bytes=len(arrival.body)):
            admitted.append(arrival)
        else:
            flooding.add(node_id)
    if flooding:
        dropped["flood"] = len(arrivals) - len(admitted)
        for node_id in meter.newly_over(flooding):
            _cut_off(node_id, now=now)
    return admitted


def _cut_off(node_id: str, *, now: datetime) -> None:
    try:
        nodes.suspend(node_id=node_id, now=now, reason=NodeReason.FLOODING)
    except (WrongState, Node.DoesNotExist):
        return  # another ingest process, or staff, was first; or it is nobody
    logger.warning("a flooding node was cut off", extra={"node_id": node_id})


def _take_beats(proven: Sequence[_Proven], *, now: datetime) -> None:
    """Renew leases; of one node's heartbeats in a batch the newest says it all."""
    newest: dict[str, messages.Heartbeat] = {}
    for each in proven:
        beat = each.message
        if isinstance(beat, messages.Heartbeat) and (
            beat.node not in newest or newest[beat.node].sent_at < beat.sent_at
        ):
            newest[beat.node] = beat
    with transaction.atomic():
        heard = set(leases.renew([newest[node_id] for node_id in sorted(newest)], now=now))
        for beat in newest.values():
            if beat.node in heard and beat.reason == NodeReason.OFFLINE:
                dispatch.restore_queue(node_id=beat.node)


def _prove_all(arrivals: Sequence[Arrival], dropped: Counter[str]) -> list[_Proven]:
    keys = public_keys(arrivals)
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
    if kind not in READERS:
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
        message = READERS[kind](arrival.body)
    except (ValidationError, RecursionError) as exc:
        raise Dropped("invalid") from exc
    if message.node != node_id:
        raise Dropped("node_mismatch")
    return _Proven(message=message, body=arrival.body.decode(), signature=str(arrival.signature))


def public_keys(arrivals: Sequence[Arrival]) -> dict[str, str]:
    """Read the keys of the nodes that may speak: active or paused ones."""
    node_ids = {arrival.routing_key.partition(".")[2] for arrival in arrivals}
    return dict(
        Node.objects.filter(
            pk__in=node_ids, state__in=[Node.State.ACTIVE, Node.State.PAUSED]
        ).values_list("pk", "public_key")
    )


def _reports(each: _Proven) -> Sequence[messages.Report]:
    match each.message:
        case messages.Report() as report:
            return [report]
        case messages.Reports(reports=several):
            return several
        case _:
            return []


def _receipts(proven: Sequence[_Proven]) -> dict[str, list[messages.ReportName]]:
    """Name by node all reports that were dealt with: taken, refused, doubled or too late."""
    names: defaultdict[str, list[messages.ReportName]] = defaultdict(list)
    for each in proven:
        names[each.message.node] += [
            messages.ReportName(assignment=report.assignment, nonce=report.nonce)
            for report in _reports(each)
        ]
    return {node_id: named for node_id, named in names.items() if named}


def signed_reports(proven: Sequence[_Proven]) -> list[reports.SignedReport]:
    """Return all reports of these messages, each with the message that proves it."""
    return [
        reports.SignedReport(report=report, body=each.body, signature=each.signature)
        for each in proven
        for report in _reports(each)
    ]
