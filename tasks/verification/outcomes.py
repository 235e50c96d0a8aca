"""Give items their results and jobs their counters; end a job with its last item.

Everything here runs inside the transaction of a verdict, which has locked the chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Case, DateTimeField, F, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from tasks import events, settlement
from tasks.models import Chunk, Item, Job
from tasks.reasons import EventCode, JobReason
from tasks.verification import agreement

logger = logging.getLogger(__name__)

_OPEN = (Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED)


def write(chunk: Chunk, answer: agreement.Answer, *, now: datetime) -> None:
    """Give each item its provisional result: labels by name, at or above the job's threshold."""
    items = list(chunk.items.order_by("position"))
    for item, found in zip(items, results(chunk.job, answer), strict=True):
        item.state = Item.State.PROVISIONAL
        item.source = Item.Source.MACHINE
        item.decided_at = now
        item.detections, item.classes = found
    Item.objects.bulk_update(items, ["state", "source", "decided_at", "detections", "classes"])


Result = list[dict[str, Any]]


def results(job: Job, answer: agreement.Answer) -> list[tuple[Result, Result | None]]:
    """Return detections and classes (null in a `detect` job) for each picture of an answer."""
    labels: dict[str, str] = job.model.labels
    is_classify = job.kind == Job.Kind.CLASSIFY
    written: list[tuple[Result, Result | None]] = []
    for picture in answer:
        found = [
            {"label": labels[str(each[0])], "score": each[1], "box": list(each[2:])}
            for each in sorted(picture, key=lambda each: (-each[1], each))
            if each[1] >= job.score_threshold
        ]
        if is_classify:
            named = [{"label": each["label"], "score": each["score"]} for each in found]
            written.append(([], named))
        else:
            written.append((found, None))
    return written


def erase(chunk: Chunk, *, now: datetime) -> None:
    """Leave the items without a result: they failed."""
    chunk.items.update(state=Item.State.FAILED, detections=None, classes=None, decided_at=now)


def count(*, job_id: str, counts: Mapping[str, int], now: datetime) -> None:
    """Move the job's counters, named as its columns, and end it with its last item."""
    changed: dict[str, Combinable] = {
        name: F(name) + count for name, count in counts.items() if count
    }
    if not changed:
        return
    if counts.get("items_provisional", 0) > 0:
        changed["first_result_at"] = Coalesce("first_result_at", Value(now, DateTimeField()))
    Job.objects.filter(pk=job_id).update(**changed, version=F("version") + 1)
    finish(job_id=job_id, now=now)


def finish(*, job_id: str, now: datetime) -> bool:
    """End the job when each item has a result or failed; say whether this call did it.

    Not before its smoke test has passed. Runs inside the caller's transaction; the rest of
    the hold returns in the same one. What is computed again later, the reserve pays.
    """
    assert connection.in_atomic_block
    decided = Job.objects.filter(
        pk=job_id,
        state__in=_OPEN,
        items_total=F("items_provisional") + F("items_final") + F("items_failed"),
    ).exclude(smoke=Job.Smoke.RUNNING)
    ended = decided.update(
        state=_by_outcome(Job.State.FAILED, Job.State.FINISHED),
        reason=_by_outcome(JobReason.NOTHING_AGREED, ""),
        finished_at=now,
        version=F("version") + 1,
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


def _by_outcome(failed: str, finished: str) -> Case:
    """Return what a column of an ended job becomes: it failed if no item has a result."""
    is_failed = When(items_failed=F("items_total"), then=Value(str(failed)))
    return Case(is_failed, default=Value(finished))
