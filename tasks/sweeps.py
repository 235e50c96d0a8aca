"""Put right what was lost: every message the broker dropped can be rebuilt from rows.

Run every few seconds by beat, by as many processes as like; each step is idempotent.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from tasks import admission, appeals, dispatch, hedging, leases, referee, scheduling, waiting
from tasks.models import Ack, Chunk, Job, Replica
from tasks.operations import platform
from tasks.verification import finality, strikes, verdicts

logger = logging.getLogger(__name__)

#: An assignment whose node has not said that it began is sent again after this time, until
#: its lease runs out.
UNSTARTED_AFTER = timedelta(seconds=8)
#: What is stored is decided by who stored it; if that died, by a sweep after this time.
DECIDE_AFTER = timedelta(seconds=3)
#: A job without acks, or with work nobody can take, is announced again this often.
ANNOUNCE_AGAIN_AFTER = timedelta(seconds=10)
#: Rows taken in one sweep of each kind.
BATCH_MAX = 500
_OPEN = (Job.State.QUEUED, Job.State.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How much each step found."""

    expired: int
    decided: int
    announced: int
    resent: int
    assigned: int
    #: Late chunks that get a second node.
    hedged: int
    #: Nodes whose rows the broker was not told of.
    enforced: int
    #: Strikes carried out, chunks decided again, settled, or still waiting for the referee.
    struck: int
    stirred: int
    settled: int
    refereeing: int
    #: Appeals the referee has answered.
    appealed: int


def sweep(*, now: datetime) -> Swept:
    """Expire leases, decide what is undecided, announce, send again, assign."""
    swept = Swept(
        expired=leases.expire(now=now),
        decided=_decide_complete(now=now),
        announced=_announce_again(now=now),
        resent=_send_again(now=now),
        hedged=hedging.hedge(now=now),
        assigned=len(scheduling.assign_ready(now=now)),
        enforced=admission.enforce_behind(now=now),
        struck=strikes.enforce(now=now),
        stirred=strikes.look_again(now=now) + _help_overdue(now=now),
        settled=finality.settle(now=now),
        refereeing=referee.ask_again(now=now),
        appealed=appeals.follow(now=now),
    )
    waiting.explain_at_work(now=now)
    platform.note_sweep(asdict(swept), now=now)
    if any(asdict(swept).values()):
        logger.info("swept %s", asdict(swept))
    return swept


def _decide_complete(*, now: datetime) -> int:
    """Advance open chunks that have answers or errors but nobody at work.

    Their reports were stored, then the process died before deciding; or a lease was lost
    and the policy must say what now.
    """
    out = Replica.objects.filter(chunk=OuterRef("pk"), state=Replica.State.LEASED)
    ended = Replica.objects.filter(
        chunk=OuterRef("pk"), reported_at__lt=now - DECIDE_AFTER
    ).exclude(state=Replica.State.LEASED)
    # Uses index: chunk_open.
    waiting = (
        Chunk.objects.filter(Exists(ended), ~Exists(out), state=Chunk.State.OPEN)
        .exclude(referee_asked_at__isnull=False, referee_at=None)
        .order_by("pk")
        .values_list("pk", flat=True)[:BATCH_MAX]
    )
    decisions = [verdicts.advance(chunk_id=chunk_id, now=now) for chunk_id in waiting]
    return sum(
        decision is not None and decision.action in {"accept", "fail"} for decision in decisions
    )


def _help_overdue(*, now: datetime) -> int:
    """Decide chunks in question that should have settled by now: the referee is asked."""
    overdue = finality.overdue(now=now, limit=BATCH_MAX)
    for chunk_id in overdue:
        verdicts.advance(chunk_id=chunk_id, now=now)
    return len(overdue)


def _announce_again(*, now: datetime) -> int:
    """Announce open jobs whose announcement reached nobody, or nobody who is free.

    Nodes that came later, or come back, learn of the job this way.
    """
    ready = Chunk.objects.filter(
        job=OuterRef("pk"), state=Chunk.State.OPEN, granted__lt=F("wanted")
    )
    silent = (
        Job.objects.filter(
            Q(announced_again_at=None) | Q(announced_again_at__lt=now - ANNOUNCE_AGAIN_AFTER),
            Exists(ready) | ~Exists(Ack.objects.filter(job=OuterRef("pk"))),
            state__in=_OPEN,
            submitted_at__lt=now - timedelta(seconds=2),
        )
        .order_by("submitted_at", "pk")
        .values_list("pk", flat=True)[:BATCH_MAX]
    )
    job_ids = list(silent)
    with transaction.atomic():
        for job_id in job_ids:
            dispatch.announce(job_id=job_id)
    return len(job_ids)


def _send_again(*, now: datetime) -> int:
    """Send assignments whose nodes have not begun; a node that has it ignores the copy."""
    # Uses index: replica_open_lease.
    unstarted = list(
        Replica.objects.filter(
            state=Replica.State.LEASED,
            started_at=None,
            assigned_at__lt=now - UNSTARTED_AFTER,
            lease_expires_at__gt=now,
        )
        .order_by("lease_expires_at", "pk")
        .values_list("pk", flat=True)[:BATCH_MAX]
    )
    with transaction.atomic():
        dispatch.assign(replica_ids=unstarted)
    return len(unstarted)
