"""When provisional results become final, and when what they earned may be paid out.

A node that is caught takes its late answers with it: they count no longer, and their
rewards are frozen. So results and rewards wait, longer for nodes that are hardly known,
and an answer believed alone waits for the node's next hundred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q

from tasks import events, settlement
from tasks.models import Chunk, Credibility, Item, Job, Replica
from tasks.reasons import ChunkReason, EventCode
from tasks.verification import terms

#: What cannot settle yet is looked at again after this time.
AGAIN_AFTER: Final = timedelta(minutes=10)
#: Chunks settled in one call.
BATCH_MAX: Final = 1000
_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """What carries one due chunk."""

    is_busy: bool
    #: Replicas that stand, and the undoubted ones among them.
    accepted: list[Replica]
    believed: list[Replica]


def settle(*, now: datetime) -> int:
    """Make results final whose time has come and that nobody questions; return chunks settled.

    Set-based. What is due and may not settle yet is looked at again later.
    """
    with transaction.atomic():
        # Uses index: chunk_settling.
        due = list(
            Chunk.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("job")
            .filter(state=Chunk.State.PROVISIONAL, settles_at__lte=now, reason="", stirred_at=None)
            .order_by("settles_at", "pk")[:BATCH_MAX]
        )
        if not due:
            return 0
        standing = _standing(due)
        known = _answers_known(due, standing)
        ready = [chunk for chunk in due if _may_settle(chunk, standing[chunk.pk], known, now=now)]
        waiting = {chunk.pk for chunk in due} - {chunk.pk for chunk in ready}
        Chunk.objects.filter(pk__in=waiting).update(settles_at=now + AGAIN_AFTER)
        _finalise(ready, standing, now=now)
        return len(ready)


def overdue(*, now: datetime, limit: int) -> list[int]:
    """Return chunks in question that should have settled by now; the referee must help.

    Or has tried in vain: then they are given up. In question are also those of which staff
    want the word of an owner who did not come.
    """
    # Uses index: chunk_settling.
    return list(
        Chunk.objects.filter(
            Q(referee_asked_at=None) | Q(referee_at__isnull=False),
            Q(reason=ChunkReason.RECHECKING)
            | Q(owners_wanted__gt=0, granted__lt=F("wanted"), referee_at=None),
            state=Chunk.State.PROVISIONAL,
            settles_at__lte=now,
        )
        .order_by("settles_at", "pk")
        .values_list("pk", flat=True)[:limit]
    )


def _standing(due: Sequence[Chunk]) -> dict[int, _Standing]:
    rows: defaultdict[int, list[Replica]] = defaultdict(list)
    for row in Replica.objects.filter(
        chunk__in=[chunk.pk for chunk in due], state__in=[_S.LEASED, _S.REPORTED, _S.ACCEPTED]
    ).defer("answer", "gold_answer"):
        rows[row.chunk_id].append(row)
    found = {}
    for chunk in due:
        accepted = [row for row in rows[chunk.pk] if row.state == _S.ACCEPTED]
        found[chunk.pk] = _Standing(
            is_busy=len(accepted) < len(rows[chunk.pk]),
            accepted=accepted,
            believed=[row for row in accepted if row.doubted_at is None],
        )
    return found


def _answers_known(
    due: Sequence[Chunk], standing: dict[int, _Standing]
) -> dict[tuple[str, str], int]:
    """Return how many accepted answers nodes believed alone have by now, by node and model."""
    alone = {
        (standing[chunk.pk].believed[0].node_id, chunk.job.model_id)
        for chunk in due
        if len(standing[chunk.pk].believed) == 1
    }
    rows = Credibility.objects.filter(
        node__in={node_id for node_id, _ in alone}, model__in={model_id for _, model_id in alone}
    ).values_list("node_id", "model_id", "answers")
    return {(node_id, model_id): answers for node_id, model_id, answers in rows}


def _may_settle(
    chunk: Chunk, standing: _Standing, known: dict[tuple[str, str], int], *, now: datetime
) -> bool:
    if standing.is_busy:  # an audit or a late answer may still change it
        return False
    if len(standing.believed) < chunk.owners_wanted and chunk.referee_at is None:
        return False  # staff want another owner's word first
    assert chunk.decided_at is not None
    only = standing.believed[0] if len(standing.believed) == 1 else None
    return terms.may_settle(
        believed=len(standing.believed),
        held=now - chunk.decided_at,
        answers_since=(
            known.get((only.node_id, chunk.job.model_id), 0) - (only.sequence or 0) if only else 0
        ),
        is_refereed=chunk.referee_answer is not None,
    )


def _finalise(ready: Sequence[Chunk], standing: dict[int, _Standing], *, now: datetime) -> None:
    chunk_ids = [chunk.pk for chunk in ready]
    Chunk.objects.filter(pk__in=chunk_ids).update(state=Chunk.State.FINAL, wanted=F("granted"))
    Item.objects.filter(chunk__in=chunk_ids, state=Item.State.PROVISIONAL).update(
        state=Item.State.FINAL
    )
    settlement.postpone(
        replica_ids=[
            row.pk
            for chunk in ready
            if len(standing[chunk.pk].believed) == 1
            for row in standing[chunk.pk].accepted
        ],
        due_at=now,
        now=now,
    )
    items: defaultdict[str, int] = defaultdict(int)
    for chunk in ready:
        items[chunk.job_id] += chunk.items_count
    for job_id in sorted(items):
        _count_final(job_id, items[job_id], now=now)


def _count_final(job_id: str, items: int, *, now: datetime) -> None:
    jobs = Job.objects.filter(pk=job_id)
    jobs.update(
        items_provisional=F("items_provisional") - items,
        items_final=F("items_final") + items,
        version=F("version") + 1,
    )
    ended = [Job.State.FINISHED, Job.State.CANCELLED]
    if jobs.filter(items_provisional=0, state__in=ended).exists():
        events.record(job_id=job_id, code=EventCode.SETTLED, detail={}, now=now)
