"""Send again what was to be sent, and take in again what was sent: all of it from the rows.

Messages to nodes are void when they are doubled, and a report that was taken before changes
nothing, so a replay is harmless however often it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef

from tasks import arrivals, dispatch, reports
from tasks.errors import Refused, WrongState
from tasks.models import Ack, Job, Node, Replica, SignedReport, StaffAction
from tasks.operations import log
from tasks.verification import batches, gold, strikes
from workers.protocol import routes

logger = logging.getLogger(__name__)

#: Assignments, and as many withdrawals, in one replay: the newest.
REPLICAS_MAX: Final = 500
#: Announcements in one replay of a node: the oldest jobs.
JOBS_MAX: Final = 50
#: What ended longer ago is computed by nobody any more.
ENDED_WITHIN: Final = timedelta(hours=24)
_ENDED = (Replica.State.LOST, Replica.State.CANCELLED)
_MAY_HEAR = (Node.State.ACTIVE, Node.State.PAUSED)
_ANNOUNCED = (Job.State.QUEUED, Job.State.RUNNING)


class NotTaken(Refused):
    """The message is not taken today; the detail has the intake's code."""

    code, status = "wrong_state", 409


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """How many of each were sent again."""

    announcements: int
    assignments: int
    withdrawals: int
    settings: int


def replay_node(*, node_id: str, staff_id: int, now: datetime) -> Replayed:
    """Send the node again all that it should know; its queue is made anew if it is gone.

    Its settings, open jobs it has not acknowledged, what it holds, and what it holds no
    longer. Again sends the same.

    Raises:
        WrongState: it is suspended or retired; nothing was sent.
    """
    with transaction.atomic(durable=True):
        if not Node.objects.filter(pk=node_id, state__in=_MAY_HEAR).exists():
            raise WrongState("The broker lets the node hear nothing.")
        jobs = _unanswered(node_id)
        leased, ended = _of(node_id=node_id, now=now)
        dispatch.restore_queue(node_id=node_id)
        dispatch.settings(node_ids=[node_id])
        dispatch.announce_to(node_id=node_id, job_ids=jobs)
        replayed = _send(leased, ended, announcements=len(jobs), settings=1)
        _record(node_id, replayed, staff_id=staff_id, now=now)
    return replayed


def replay_job(*, job_id: str, staff_id: int, now: datetime) -> Replayed:
    """Send again all that nodes should know of the job. Again sends the same.

    Its announcement while it is open, what is leased, and what is not any more.
    """
    with transaction.atomic(durable=True):
        is_open = Job.objects.filter(pk=job_id, state__in=_ANNOUNCED).exists()
        leased, ended = _of(job_id=job_id, now=now)
        if is_open:
            dispatch.announce(job_id=job_id)
        replayed = _send(leased, ended, announcements=int(is_open), settings=0)
        _record(job_id, replayed, staff_id=staff_id, now=now)
    return replayed


def retake(*, message_id: int, staff_id: int, now: datetime) -> int:
    """Take a kept message of reports in again; return the chunks that changed by it.

    None does if it was taken before. It goes through the same checks as when it came, so a
    node that has other keys by now, or may not speak, is not heard.

    Raises:
        NotTaken: with the intake's code; nothing was changed.
    """
    kept = SignedReport.objects.get(pk=message_id)
    arrival = _arrival(kept)
    try:
        proven = arrivals.prove(arrival, public_keys=arrivals.public_keys([arrival]))
    except arrivals.Dropped as exc:
        raise NotTaken(f"The intake refuses the message: {exc}.") from exc
    with transaction.atomic(durable=True):
        chunk_ids = reports.accept(arrivals.signed_reports([proven]), now=now, is_replay=True)
        gold.score(chunk_ids, now=now)
        log.record(
            staff_id=staff_id,
            verb=StaffAction.Verb.RETAKE,
            target=str(message_id),
            detail={"node": kept.node_id, "chunks": len(chunk_ids)},
            now=now,
        )
    logger.info("a kept message was taken again", extra={"message_id": message_id})
    if chunk_ids:
        batches.decide_all(chunk_ids, now=now)
        strikes.enforce(now=now)
    return len(chunk_ids)


def _arrival(kept: SignedReport) -> arrivals.Arrival:
    """Build what the broker delivered; RabbitMQ had checked the user when it was kept."""
    return arrivals.Arrival(
        routing_key=f"report.{kept.node_id}",
        user_id=routes.broker_username(kept.node_id),
        content_type="application/json",
        content_encoding="utf-8",
        signature=kept.signature,
        header_names=frozenset(),
        body=kept.body.encode(),
    )


def _unanswered(node_id: str) -> list[str]:
    """Return open, announced jobs the node has not acknowledged. Uses index: job_open."""
    acks = Ack.objects.filter(job=OuterRef("pk"), node=node_id)
    jobs = Job.objects.filter(~Exists(acks), state__in=_ANNOUNCED, announced_at__isnull=False)
    return list(jobs.order_by("submitted_at", "pk").values_list("pk", flat=True)[:JOBS_MAX])


def _of(*, now: datetime, **whose: str) -> tuple[list[int], list[int]]:
    """Return what is leased and what ended lately, the newest first.

    Uses indexes: replica_held_by_node, replica_by_node, replica_by_job.
    """
    rows = Replica.objects.filter(**whose).order_by("-assigned_at", "-pk")
    leased = rows.filter(state=Replica.State.LEASED, lease_expires_at__gt=now)
    ended = rows.filter(state__in=_ENDED, assigned_at__gte=now - ENDED_WITHIN)
    return (
        list(leased.values_list("pk", flat=True)[:REPLICAS_MAX]),
        list(ended.values_list("pk", flat=True)[:REPLICAS_MAX]),
    )


def _send(
    leased: Sequence[int], ended: Sequence[int], *, announcements: int, settings: int
) -> Replayed:
    dispatch.assign(replica_ids=leased)
    dispatch.withdraw(replica_ids=ended)
    return Replayed(
        announcements=announcements,
        assignments=len(leased),
        withdrawals=len(ended),
        settings=settings,
    )


def _record(target: str, replayed: Replayed, *, staff_id: int, now: datetime) -> None:
    log.record(
        staff_id=staff_id,
        verb=StaffAction.Verb.REPLAY,
        target=target,
        detail=asdict(replayed),
        now=now,
    )
