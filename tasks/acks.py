"""Take a node's word that it will take part in a job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Q

from tasks.models import Ack, Job, Node
from workers.protocol import messages

#: An ack this late still counts: a small job may end before the slowest node has answered.
LATE_MAX = timedelta(seconds=10)


def accept(acks: Sequence[messages.AckMessage], *, now: datetime) -> list[str]:
    """Note each ack once, with its time; return the ids of the jobs that gained a node.

    Runs inside the caller's transaction. Acks of unknown jobs, and of jobs that ended a
    while ago, change nothing.
    """
    assert connection.in_atomic_block
    jobs = {
        job.pk: job
        for job in Job.objects.filter(
            Q(finished_at=None) | Q(finished_at__gt=now - LATE_MAX),
            pk__in={ack.job for ack in acks},
            announced_at__isnull=False,
        )
    }
    known = [ack for ack in acks if ack.job in jobs]
    # Sorted: two batches that name the same nodes do not wait for each other in a ring.
    for ack in sorted(known, key=lambda ack: ack.node):
        Node.objects.filter(pk=ack.node).update(
            last_seen_at=now, slots=ack.slots, cached_models=ack.cached_models, reason=""
        )
    earlier = set(
        Ack.objects.filter(job__in=jobs, node__in={ack.node for ack in known}).values_list(
            "job_id", "node_id"
        )
    )
    Ack.objects.bulk_create(
        [
            Ack(
                job_id=ack.job,
                node_id=ack.node,
                received_at=now,
                latency_ms=_latency_ms(jobs[ack.job], now=now),
            )
            for ack in known
        ],
        ignore_conflicts=True,  # ack_once_per_node
    )
    gained = sorted({ack.job for ack in known if (ack.job, ack.node) not in earlier})
    for job_id in gained:
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
    return gained


def _latency_ms(job: Job, *, now: datetime) -> int:
    assert job.announced_at is not None
    return max(0, round((now - job.announced_at).total_seconds() * 1000))
