"""Old work leaves the tables: exported as compressed JSON lines, then removed.

What remains of an old job are its chunks and items, so its results, and its receipt, which
is written for the last time and kept. Exported and removed are replicas and what nodes signed
for them, acks, events, and posted rewards and fees; transfers stay for ever. A line is
`{"table": ..., "row": {column: value}}`. A report's digest stands in the receipt, so what was
exported can be shown to be what was signed.

Replicas that say something beyond their job stay: gold an owner has seen, strikes, appeals.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from tasks import blobs, receipts, settlement
from tasks.models import Ack, Chunk, Job, JobArchive, JobEvent, Replica, SignedReport

logger = logging.getLogger(__name__)

#: Replicas in one file and one transaction.
PART_MAX = 5_000
#: Jobs in one call.
JOBS_MAX = 100
MEDIA_TYPE = "application/gzip"
_ENDED = (Job.State.FINISHED, Job.State.CANCELLED, Job.State.FAILED)


def archive(*, older_than: timedelta, now: datetime) -> int:
    """Archive jobs that ended so long ago and are settled; return how many rows were removed.

    Safe to repeat, and to end at any time: rows are removed in the transaction that says
    where they are.
    """
    return sum(_archive_job(job_id, now=now) for job_id in _settled(now - older_than))


def _settled(before: datetime) -> list[str]:
    """Return ended jobs in which nothing can change any more, oldest first."""
    unsettled = Chunk.objects.filter(
        job=OuterRef("pk"), state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL]
    )
    jobs = Job.objects.filter(
        ~Exists(unsettled), state__in=_ENDED, finished_at__lt=before, archived_at=None
    )
    return list(jobs.order_by("finished_at", "pk").values_list("pk", flat=True)[:JOBS_MAX])


def _archive_job(job_id: str, *, now: datetime) -> int:
    rows = Replica.objects.filter(job=job_id, gold=None, strike=None, appeal=None)
    ids = list(rows.order_by("pk").values_list("pk", flat=True))
    if settlement.has_waiting(replica_ids=ids):
        logger.info("not archived, money is on its way", extra={"job_id": job_id})
        return 0
    receipt_id = _keep_receipt(job_id, now=now)
    removed = 0
    for start in range(0, len(ids), PART_MAX):
        part = ids[start : start + PART_MAX]
        removed += _archive_part(job_id, part, receipt_id=receipt_id, is_last=False, now=now)
    removed += _archive_part(job_id, [], receipt_id=receipt_id, is_last=True, now=now)
    logger.info("job archived", extra={"job_id": job_id, "rows": removed})
    return removed


def _keep_receipt(job_id: str, *, now: datetime) -> str:
    """Write the receipt, or find the one that was written before the first row was removed."""
    kept = JobArchive.objects.filter(job=job_id).values_list("receipt_id", flat=True).first()
    if kept is not None:
        return kept
    pieces = receipts.write(job_id=job_id, now=now)
    return str(blobs.put(_compressed(pieces), media_type=MEDIA_TYPE).pk)


def _archive_part(
    job_id: str, replica_ids: Sequence[int], *, receipt_id: str, is_last: bool, now: datetime
) -> int:
    """Export and remove some replicas with all that hangs on them; at last the job's own rows."""
    replicas = Replica.objects.filter(pk__in=replica_ids)
    signed = SignedReport.objects.filter(replicas__in=replica_ids).distinct()
    own: list[QuerySet[Any]] = []
    if is_last:
        own = [Ack.objects.filter(job=job_id), JobEvent.objects.filter(job=job_id)]
    posted = settlement.export_posted(replica_ids=replica_ids)
    lines = [
        *(line for rows in (replicas, signed, *own) for line in _lines(rows)),
        *(_line("payments.TransferIntent", row) for row in posted),
    ]
    blob = blobs.put(_compressed(lines or ["\n"]), media_type=MEDIA_TYPE)
    with transaction.atomic(durable=True):
        JobArchive.objects.create(
            job_id=job_id,
            part=JobArchive.objects.filter(job=job_id).count(),
            blob=blob,
            receipt_id=receipt_id,
            rows=len(lines),
            created_at=now,
        )
        evidence = list(signed.values_list("pk", flat=True))
        removed = settlement.remove_posted(replica_ids=replica_ids) + replicas.delete()[0]
        # A message may hold reports of other jobs as well.
        removed += SignedReport.objects.filter(pk__in=evidence, replicas=None).delete()[0]
        if is_last:
            Job.objects.filter(pk=job_id).update(archived_at=now, version=F("version") + 1)
        return removed + sum(rows.delete()[0] for rows in own)


def _lines(rows: QuerySet[Any]) -> Iterable[str]:
    name = rows.model._meta.label  # noqa: SLF001  # Django's documented API
    return (_line(name, row) for row in rows.order_by("pk").values())


def _line(table: str, row: dict[str, Any]) -> str:
    return json.dumps({"table": table, "row": row}, cls=DjangoJSONEncoder) + "\n"


def _compressed(pieces: Iterable[str]) -> bytes:
    """Join and compress; the same text always gives the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for piece in pieces:
            file.write(piece.encode())
    return buffer.getvalue()
