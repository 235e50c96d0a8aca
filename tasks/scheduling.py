"""Who gets what: match ready chunks to nodes with free slots.

Several processes may schedule at one time: a slot of a chunk is claimed by one conditional
UPDATE, the rest is held by constraints. Correctness never depends on a lock here.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from tasks import dispatch, events, fleet
from tasks.models import Chunk, Job, Node, Replica
from tasks.models.jobs import ENDED_WITHOUT_ANSWER
from tasks.reasons import EventCode, JobReason, ReplicaReason
from tasks.verification import policy

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=settings.LEASE_SECONDS)
#: Assignments made in one transaction.
BATCH_MAX = 50
#: Times one owner may lose a chunk or give it back before others alone are asked.
AGAIN_MAX = 3
#: Jobs looked at in one pass, oldest first.
JOBS_MAX = 50
_OPEN = (Job.State.QUEUED, Job.State.RUNNING)


def assign_ready(*, now: datetime, job_ids: Sequence[str] | None = None) -> list[int]:
    """Lease ready chunks to free nodes; return the new replicas' ids.

    Their assignments are published after commit. Without `job_ids` all open jobs are
    looked at, oldest first. A job that gets nothing is given the reason why.
    """
    jobs = Job.objects.filter(state__in=_OPEN).order_by("submitted_at", "pk")
    if job_ids is not None:
        jobs = jobs.filter(pk__in=job_ids)
    assigned: list[int] = []
    for job in jobs[:JOBS_MAX]:
        while batch := _assign_batch(job, now=now):
            assigned += batch
            if len(batch) < BATCH_MAX:
                break
    return assigned


def _assign_batch(job: Job, *, now: datetime) -> list[int]:
    with transaction.atomic():
        # Uses index: chunk_ready.
        chunks = list(
            job.chunks.filter(state=Chunk.State.OPEN, granted__lt=F("wanted"))
            .order_by("pk")
            .prefetch_related("replicas")[:BATCH_MAX]
        )
        if not chunks:
            _explain(job, _settled_reason(job))
            return []
        nodes = fleet.free_for(job_id=job.pk, owner_id=job.owner_id, now=now)
        replica_ids = _match(job, chunks, nodes, now=now)
        if replica_ids:
            _mark_running(job, now=now)
            dispatch.assign(replica_ids=replica_ids)
        else:
            _explain(job, _waiting_reason(job, nodes, now=now))
        return replica_ids


def _match(job: Job, chunks: Sequence[Chunk], nodes: Sequence[Node], *, now: datetime) -> list[int]:
    """Go chunk by chunk, so that the first result is checked as early as possible."""
    free = {node.pk: node.slots - node.held for node in nodes}  # type: ignore[attr-defined]  # annotated by fleet.free_for
    made: list[int] = []
    for chunk in chunks:
        owners, last = _owners_tried(chunk)
        attempts = sum(row.reason != ReplicaReason.HANDED_BACK for row in chunk.replicas.all())
        # Sorting is stable: within each half the idlest stay first.
        asked = sorted(_idlest_first(job, nodes, free), key=lambda node: node.owner_id in last)
        for node in asked:
            if (
                chunk.granted >= chunk.wanted
                or attempts >= policy.ATTEMPTS_MAX
                or len(made) == BATCH_MAX
            ):
                break
            if free[node.pk] <= 0 or node.owner_id in owners:
                continue
            replica = _grant(chunk, node, job, now=now)
            if replica is None:
                break
            chunk.granted += 1
            attempts += 1
            free[node.pk] -= 1
            owners.add(node.owner_id)
            made.append(replica.pk)
    return made


def _owners_tried(chunk: Chunk) -> tuple[set[int], set[int]]:
    """Return the owners who must not have the chunk, and those to be asked last.

    Whoever answered or has it now must not. Whoever lost it or gave it back is asked when
    nobody else is there, for in a small fleet the chunk would wait for ever; but not again
    and again.
    """
    ended: Counter[int] = Counter()
    tried = set()
    for replica in chunk.replicas.all():
        if replica.reason in ENDED_WITHOUT_ANSWER:
            ended[replica.operator_id] += 1
        else:
            tried.add(replica.operator_id)
    return tried | {owner for owner, count in ended.items() if count >= AGAIN_MAX}, set(ended)


def _idlest_first(job: Job, nodes: Sequence[Node], free: dict[str, int]) -> list[Node]:
    """Order by model at hand, then by free slots, then by id."""
    digest = job.model.blob_id
    return sorted(
        nodes,
        key=lambda node: (digest not in node.cached_models, -free[node.pk], node.pk),
    )


def _grant(chunk: Chunk, node: Node, job: Job, *, now: datetime) -> Replica | None:
    """Lease the chunk to the node; None when another process was first."""
    try:
        with transaction.atomic():
            claimed = Chunk.objects.filter(
                pk=chunk.pk, state=Chunk.State.OPEN, granted__lt=F("wanted")
            ).update(granted=F("granted") + 1)
            if claimed == 0:
                return None
            return Replica.objects.create(
                chunk=chunk,
                job=job,
                node=node,
                operator_id=node.owner_id,
                nonce=secrets.token_hex(16),
                assigned_at=now,
                lease_expires_at=now + LEASE,
                reward_minor=job.reward_image_minor * chunk.items_count,
                fee_minor=job.fee_image_minor * chunk.items_count,
            )
    except IntegrityError:  # replica_once_per_owner
        logger.info("chunk already with this owner", extra={"chunk_id": chunk.pk})
        return None


def _mark_running(job: Job, *, now: datetime) -> None:
    started = Job.objects.filter(pk=job.pk, state=Job.State.QUEUED).update(
        state=Job.State.RUNNING, reason="", version=F("version") + 1
    )
    if started:
        events.record(job_id=job.pk, code=EventCode.STARTED, detail={}, now=now)
    else:
        Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).exclude(reason="").update(
            reason="", version=F("version") + 1
        )


def _settled_reason(job: Job) -> str:
    """Nothing to give out: either an answer waits for another one or all is at work."""
    checking = job.replicas.filter(state=Replica.State.REPORTED).exists()
    return JobReason.VERIFYING if checking else ""


def _waiting_reason(job: Job, nodes: Sequence[Node], *, now: datetime) -> str:
    if nodes:
        return JobReason.OWNERS_EXHAUSTED
    others = fleet.online(now=now).exclude(owner_id=job.owner_id)
    if job.acks.filter(node__in=others).exists():
        return JobReason.NODES_BUSY
    return JobReason.NO_CAPABLE_NODES


def _explain(job: Job, reason: str) -> None:
    Job.objects.filter(pk=job.pk, state__in=_OPEN).exclude(reason=reason).update(
        reason=reason, version=F("version") + 1
    )
