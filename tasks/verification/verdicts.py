"""Carry out the policy's decision on a chunk: results, money, the job's end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F, Q

from tasks import dispatch, events, settlement
from tasks.models import Chunk, Item, Job, Replica
from tasks.reasons import ChunkReason, EventCode, JobReason, ReplicaReason
from tasks.verification import agreement, policy

logger = logging.getLogger(__name__)

_S = Replica.State


def advance(*, chunk_id: int, now: datetime) -> policy.Decision | None:
    """Decide a chunk from its replicas, once; called as often as anybody likes.

    One short transaction: lock the chunk, look at its replicas, apply the policy. None when
    the chunk was decided before. Everything else in the system only inserts facts.
    """
    with transaction.atomic():
        chunk = (
            Chunk.objects.select_for_update(of=("self",))
            .select_related("job__model")
            .filter(pk=chunk_id, state=Chunk.State.OPEN)
            .first()
        )
        if chunk is None:
            return None
        replicas = list(chunk.replicas.order_by("reported_at", "id"))
        decision = policy.decide(_facts(chunk.job, replicas))
        _apply(chunk, replicas, decision, now=now)
        return decision


def _facts(job: Job, replicas: Sequence[Replica]) -> policy.Facts:
    tried = [row for row in replicas if row.reason != ReplicaReason.HANDED_BACK]
    return policy.Facts(
        quorum=job.quorum,
        score_threshold=job.score_threshold,
        answers=[_answer(row) for row in _reported(replicas)],
        running=sum(row.state == _S.LEASED for row in replicas),
        attempts=len(tried),
        errors=sum(row.state == _S.FAILED for row in tried),
        kind=job.kind,
    )


def _reported(replicas: Sequence[Replica]) -> list[Replica]:
    return [row for row in replicas if row.state == _S.REPORTED]


def _answer(replica: Replica) -> agreement.Answer:
    assert replica.answer is not None, "only reported replicas are read"
    return [[tuple(found) for found in picture] for picture in replica.answer]


def _apply(
    chunk: Chunk, replicas: Sequence[Replica], decision: policy.Decision, *, now: datetime
) -> None:
    match decision.action:
        case "accept":
            _accept(chunk, replicas, decision.group, now=now)
        case "fail":
            _fail(chunk, replicas, ChunkReason(decision.reason), now=now)
        case "more" if decision.wanted > chunk.wanted or decision.is_disagreement:
            _ask_more(chunk, decision, now=now)
        case _:
            pass


def _ask_more(chunk: Chunk, decision: policy.Decision, *, now: datetime) -> None:
    raised = Chunk.objects.filter(pk=chunk.pk, wanted__lt=decision.wanted).update(
        wanted=decision.wanted
    )
    if raised and decision.is_disagreement:
        Job.objects.filter(pk=chunk.job_id).update(
            disagreements=F("disagreements") + 1, version=F("version") + 1
        )
        events.record(
            job_id=chunk.job_id,
            code=EventCode.DISAGREEMENT,
            detail={"chunk": chunk.index},
            now=now,
        )


def _accept(
    chunk: Chunk, replicas: Sequence[Replica], group: Sequence[int], *, now: datetime
) -> None:
    reported = _reported(replicas)
    agreed = [reported[index] for index in group]
    differing = [row for row in reported if row not in agreed]
    Replica.objects.filter(pk__in=[row.pk for row in agreed]).update(state=_S.ACCEPTED)
    Replica.objects.filter(pk__in=[row.pk for row in differing]).update(
        state=_S.REJECTED, reason=ReplicaReason.DISAGREED
    )
    spare = _withdraw(replicas)
    _close(chunk, Chunk.State.FINAL, reason="", now=now)
    _write_results(chunk, _answer(agreed[0]), now=now)
    settlement.reward(
        chunk=chunk,
        replicas=[*agreed, *spare],
        planned=chunk.job.replicas_planned,
        matures_at=now + settlement.HOLD_WINDOW,
        now=now,
    )
    _count(chunk, final=chunk.items_count, failed=0, now=now)


def _fail(chunk: Chunk, replicas: Sequence[Replica], reason: ChunkReason, *, now: datetime) -> None:
    """Give the chunk up. Nobody agreed, so no answer is paid but work cut short is."""
    Replica.objects.filter(pk__in=[row.pk for row in _reported(replicas)]).update(
        state=_S.REJECTED, reason=ReplicaReason.DISAGREED
    )
    spare = _withdraw(replicas)
    _close(chunk, Chunk.State.FAILED, reason=reason, now=now)
    chunk.items.update(state=Item.State.FAILED, decided_at=now)
    settlement.reward(
        chunk=chunk,
        replicas=spare,
        planned=0,
        matures_at=now + settlement.HOLD_WINDOW,
        now=now,
    )
    events.record(
        job_id=chunk.job_id,
        code=EventCode.CHUNK_FAILED,
        detail={"chunk": chunk.index, "reason": reason.value},
        now=now,
    )
    _count(chunk, final=0, failed=chunk.items_count, now=now)


def _withdraw(replicas: Sequence[Replica]) -> list[Replica]:
    """End the leases that are no longer needed; their nodes are told after commit."""
    spare = [row for row in replicas if row.state == _S.LEASED]
    Replica.objects.filter(pk__in=[row.pk for row in spare]).update(
        state=_S.CANCELLED, reason=ReplicaReason.NOT_NEEDED
    )
    dispatch.withdraw(replica_ids=[row.pk for row in spare])
    return spare


def _close(chunk: Chunk, state: Chunk.State, *, reason: str, now: datetime) -> None:
    closed = Chunk.objects.filter(pk=chunk.pk, state=Chunk.State.OPEN).update(
        state=state, reason=reason, decided_at=now
    )
    assert closed == 1, "the row is locked and was open"


def _write_results(chunk: Chunk, answer: agreement.Answer, *, now: datetime) -> None:
    """Give each item its result: labels by name, at or above the job's threshold."""
    labels: dict[str, str] = chunk.job.model.labels
    is_classify = chunk.job.kind == Job.Kind.CLASSIFY
    items = list(chunk.items.order_by("position"))
    for item in items:
        item.state = Item.State.FINAL
        item.source = Item.Source.MACHINE
        item.decided_at = now
        found = [
            {"label": labels[str(each[0])], "score": each[1], "box": list(each[2:])}
            for each in sorted(answer[item.position], key=lambda each: (-each[1], each))
            if each[1] >= chunk.job.score_threshold
        ]
        item.detections = [] if is_classify else found
        if is_classify:
            item.classes = [{"label": each["label"], "score": each["score"]} for each in found]
    Item.objects.bulk_update(items, ["state", "source", "decided_at", "detections", "classes"])


def _count(chunk: Chunk, *, final: int, failed: int, now: datetime) -> None:
    """Raise the job's counters and finish it with its last chunk."""
    jobs = Job.objects.filter(pk=chunk.job_id)
    jobs.update(
        items_final=F("items_final") + final,
        items_failed=F("items_failed") + failed,
        version=F("version") + 1,
    )
    if final:
        jobs.filter(first_result_at=None).update(first_result_at=now)
    finish(job_id=chunk.job_id, now=now)


def finish(*, job_id: str, now: datetime) -> bool:
    """End the job when each item is decided; say whether this call did it.

    Runs inside the caller's transaction; the rest of the hold returns in the same one.
    """
    assert connection.in_atomic_block
    decided = Job.objects.filter(
        pk=job_id,
        state__in=[Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED],
        items_total=F("items_final") + F("items_failed"),
    )
    common = {"finished_at": now, "version": F("version") + 1}
    ended = decided.filter(~Q(items_final=0)).update(
        state=Job.State.FINISHED, reason="", **common
    ) or decided.filter(items_final=0).update(
        state=Job.State.FAILED, reason=JobReason.NOTHING_AGREED, **common
    )
    if not ended:
        return False
    returned_minor = settlement.close(job_id=job_id, now=now)
    events.record(
        job_id=job_id,
        code=EventCode.FINISHED,
        detail={"returned_minor": returned_minor},
        now=now,
    )
    logger.info("job finished", extra={"job_id": job_id})
    return True
