"""Take a node's word that it will take part in a job: one statement for a whole batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q

from payments import arrays
from tasks.models import Ack, Chunk, Job, Node
from workers.protocol import messages

#: An ack this late still counts: a small job may end before the slowest node has answered.
LATE_MAX = timedelta(seconds=10)


def accept(acks: Sequence[messages.AckMessage], *, now: datetime) -> list[str]:
    """Note each ack once, with its time; return the ids of the jobs that gained a node.

    Runs inside the caller's transaction. Acks of unknown jobs, and of jobs that ended a
    while ago and want nobody since, change nothing.
    """
    assert connection.in_atomic_block
    wants_more = Chunk.objects.filter(
        job=OuterRef("pk"),
        state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
        granted__lt=F("wanted"),
    )  # uses index: chunk_ready
    jobs = {
        job.pk: job
        for job in Job.objects.filter(
            Q(finished_at=None) | Q(finished_at__gt=now - LATE_MAX) | Exists(wants_more),
            pk__in={ack.job for ack in acks},
            announced_at__isnull=False,
        )
    }
    known = [ack for ack in acks if ack.job in jobs]
    if not known:
        return []
    latencies = {job_id: _latency_ms(job, now=now) for job_id, job in jobs.items()}
    gained = write(known, latencies_ms=latencies, now=now)
    for job_id in gained:
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
    return gained


def write(
    acks: Sequence[messages.AckMessage], *, latencies_ms: Mapping[str, int], now: datetime
) -> list[str]:
    """Write what the nodes say and the acks that are new; return their jobs, in order.

    Of one node's acks the last says how it is. Runs inside the caller's transaction.
    """
    if connection.vendor == "postgresql":
        return _write_at_once(acks, latencies_ms=latencies_ms, now=now)
    return write_plainly(acks, latencies_ms=latencies_ms, now=now)


def write_plainly(
    acks: Sequence[messages.AckMessage], *, latencies_ms: Mapping[str, int], now: datetime
) -> list[str]:
    """Do what `write` does, row by row; its one statement is tested against this."""
    # Sorted: two batches that name the same nodes do not wait for each other in a ring.
    for ack in sorted(acks, key=lambda ack: ack.node):
        Node.objects.filter(pk=ack.node).update(
            last_seen_at=now, slots=ack.slots, cached_models=ack.cached_models, reason=""
        )
    earlier = set(
        Ack.objects.filter(job__in=latencies_ms, node__in={ack.node for ack in acks}).values_list(
            "job_id", "node_id"
        )
    )
    Ack.objects.bulk_create(
        [
            Ack(
                job_id=ack.job,
                node_id=ack.node,
                received_at=now,
                latency_ms=latencies_ms[ack.job],
            )
            for ack in acks
        ],
        ignore_conflicts=True,  # ack_once_per_node
    )
    return sorted({ack.job for ack in acks if (ack.job, ack.node) not in earlier})


def _write_at_once(
    acks: Sequence[messages.AckMessage], *, latencies_ms: Mapping[str, int], now: datetime
) -> list[str]:
    said = list({ack.node: ack for ack in acks}.values())
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            [
                arrays.literal(ack.node for ack in said),
                arrays.literal(ack.slots for ack in said),
                arrays.literal(json.dumps(ack.cached_models) for ack in said),
                now,
                now,
                arrays.literal(ack.job for ack in acks),
                arrays.literal(ack.node for ack in acks),
                arrays.literal(latencies_ms[ack.job] for ack in acks),
            ],
        )
        return [job_id for (job_id,) in cursor.fetchall()]


#: Reaches every node by its key; acks are written through `ack_once_per_node`.
_WRITE = """
WITH said AS MATERIALIZED (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::text[])
        AS s(node_id, slots, cached_models)
), locked AS MATERIALIZED (
    SELECT id FROM tasks_node WHERE id IN (SELECT node_id FROM said)
    ORDER BY id FOR NO KEY UPDATE
), seen AS (
    UPDATE tasks_node n
    SET last_seen_at = %s, slots = s.slots, cached_models = s.cached_models::jsonb, reason = ''
    FROM said s JOIN locked ON locked.id = s.node_id
    WHERE n.id = s.node_id
), noted AS (
    INSERT INTO tasks_ack (received_at, job_id, node_id, latency_ms)
    SELECT %s, a.job_id, a.node_id, a.latency_ms
    FROM unnest(%s::text[], %s::text[], %s::int[]) AS a(job_id, node_id, latency_ms)
    ON CONFLICT (job_id, node_id) DO NOTHING
    RETURNING job_id
)
SELECT DISTINCT job_id FROM noted ORDER BY job_id
"""


def _latency_ms(job: Job, *, now: datetime) -> int:
    assert job.announced_at is not None
    return max(0, round((now - job.announced_at).total_seconds() * 1000))
