"""Try a new job on one chunk before the rest, and stop one whose model fails everywhere.

The trial chunk goes to three nodes and to the referee. What fails there fails for a few
pictures, in a minute, and costs the client nothing: the reserve pays the nodes.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import connection
from django.db.models import Count, F

from tasks import dispatch, events, settlement
from tasks.models import CatalogModel, Chunk, Item, Job, Replica
from tasks.reasons import OTHER_CLASS, ChunkReason, EventCode, JobReason, ReplicaReason
from tasks.verification import breaker, outcomes

logger = logging.getLogger(__name__)

#: Nodes that try the first chunk, beside the referee; how many of them must be right.
NODES: Final = 3
RIGHT_MIN: Final = 2
_OPEN = (Job.State.QUEUED, Job.State.RUNNING)
_S = Replica.State


def is_needed(*, model: CatalogModel, chunks: int, mode: str) -> bool:
    """Say whether a job of so many chunks is tried first.

    Small jobs of the platform's own models are their own trial; a client's model is tried
    until one of its jobs has finished. A race wants its first answer at once.
    """
    if mode == Job.Mode.RACE:
        return False
    if chunks >= settings.SMOKE_CHUNKS_MIN:
        return True
    is_known = model.owner_id is None or model.jobs.filter(state=Job.State.FINISHED).exists()
    return not is_known


def begin(*, job: Job, now: datetime) -> None:
    """Give the first chunk to three nodes and the referee. Runs in the submitting transaction."""
    assert connection.in_atomic_block
    first = job.chunks.order_by("index")[0]
    Chunk.objects.filter(pk=first.pk).update(
        purpose=Replica.Purpose.SMOKE, wanted=NODES, referee_asked_at=now
    )
    dispatch.referee(chunk_id=first.pk)


def conclude(*, chunk: Chunk, now: datetime) -> None:
    """Look whether the trial of the chunk's job is over; release or end the job.

    Runs inside the verdict's transaction, which holds the chunk.
    """
    assert connection.in_atomic_block
    if chunk.index != 0 or chunk.job.smoke != Job.Smoke.RUNNING:
        return
    chunk.refresh_from_db()
    states = list(chunk.replicas.values_list("state", "reason"))
    right = sum(state == _S.ACCEPTED for state, _ in states)
    wrong = sum(reason in {ReplicaReason.WRONG, ReplicaReason.OVERTURNED} for _, reason in states)
    # Where its numbers are not comparable, the nodes' agreement must do.
    has_heard_referee = chunk.referee_answer is not None or chunk.referee_error == OTHER_CLASS
    if has_heard_referee and right >= RIGHT_MIN:
        _pass(chunk, now=now)
    elif (
        chunk.referee_error not in {"", OTHER_CLASS}
        or chunk.state == Chunk.State.FAILED
        or wrong >= RIGHT_MIN
    ):
        _fail(chunk, now=now)


def _pass(chunk: Chunk, *, now: datetime) -> None:
    passed = Job.objects.filter(pk=chunk.job_id, smoke=Job.Smoke.RUNNING).update(
        smoke=Job.Smoke.PASSED, version=F("version") + 1
    )
    if passed:
        events.record(job_id=chunk.job_id, code=EventCode.SMOKE_PASSED, detail={}, now=now)
        dispatch.schedule(job_ids=[chunk.job_id])
        outcomes.finish(job_id=chunk.job_id, now=now)


def _fail(chunk: Chunk, *, now: datetime) -> None:
    """End the job: nothing was charged yet, and nothing will be."""
    failed = Job.objects.filter(
        pk=chunk.job_id, smoke=Job.Smoke.RUNNING, state__in=[*_OPEN, Job.State.PAUSED]
    )
    rest = list(
        Chunk.objects.select_for_update(of=("self",))
        .filter(job=chunk.job_id, state=Chunk.State.OPEN)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not failed.select_for_update(of=("self",), no_key=True):  # cancelled meanwhile
        return
    running = list(
        Replica.objects.filter(chunk__in=rest, state__in=[_S.LEASED, _S.REPORTED]).order_by("pk")
    )
    Replica.objects.filter(pk__in=[row.pk for row in running]).update(
        state=_S.CANCELLED, reason=ReplicaReason.JOB_CANCELLED
    )
    settlement.reward(
        chunk=chunk,
        replicas=running,
        planned=0,
        matures_at=now + settlement.HOLD_WINDOW,
        now=now,
    )
    Chunk.objects.filter(pk__in=rest).update(
        state=Chunk.State.FAILED, reason=ChunkReason.APP_ERROR, decided_at=now, wanted=0, granted=0
    )
    lost = Item.objects.filter(chunk__in=rest).update(state=Item.State.FAILED, decided_at=now)
    ended = failed.update(
        smoke=Job.Smoke.FAILED,
        state=Job.State.FAILED,
        reason=JobReason.SMOKE_FAILED,
        finished_at=now,
        items_failed=F("items_failed") + lost,
        version=F("version") + 1,
    )
    assert ended == 1, "its row is locked"
    returned_minor = settlement.close(job_id=chunk.job_id, now=now)
    events.record(
        job_id=chunk.job_id,
        code=EventCode.SMOKE_FAILED,
        detail={"returned_minor": returned_minor, "error": chunk.referee_error},
        now=now,
    )
    dispatch.withdraw(replica_ids=[row.pk for row in running])
    logger.info("smoke test failed", extra={"job_id": chunk.job_id})


def break_circuit(*, job_id: str, now: datetime) -> bool:
    """Pause a job whose nodes keep failing in the same way; say whether this call did it.

    Called with each error; see `breaker`. Failed work is not charged.
    """
    errors = {
        (code, owner_id): count
        for code, owner_id, count in Replica.objects.filter(
            job=job_id, state=_S.FAILED, reason=ReplicaReason.NODE_ERROR
        )
        .values_list("error_code", "operator")
        .annotate(count=Count("pk"))
        .order_by()
    }
    decided = (
        Chunk.objects.filter(job=job_id)
        .exclude(state__in=[Chunk.State.OPEN, Chunk.State.CANCELLED])
        .count()
    )
    error = breaker.common_error(errors, decided=decided)
    if not error:
        return False
    paused = Job.objects.filter(pk=job_id, state__in=_OPEN).update(
        state=Job.State.PAUSED, reason=JobReason.APP_ERRORS, version=F("version") + 1
    )
    if paused:
        events.record(
            job_id=job_id,
            code=EventCode.APP_ERRORS,
            detail={
                "reason": str(JobReason.APP_ERRORS),
                "error": error,
                "count": sum(count for (code, _), count in errors.items() if code == error),
            },
            now=now,
        )
    return paused == 1
