"""A second node for work that is late: the slowest must not hold up a job's end.

Past 1.5 times what three quarters of the job's answers took, and only while the job has
nothing else to give out, a chunk is given to one more node; whoever answers first decides.
At most a tenth of the running work is hedges. Figures: docs/performance.md and Dean and
Barroso, The Tail at Scale (2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Exists, F, OuterRef

from tasks import candidates
from tasks.models import Chunk, Job, Replica

LATE_FROM: Final = 1.5
SHARE_MAX: Final = 0.1
#: Answers from which it is known what usual is, and those looked at.
ANSWERS_MIN: Final = 4
ANSWERS_MAX: Final = 200
#: Work is never late before this.
LATE_MIN: Final = timedelta(seconds=1)
JOBS_MAX: Final = 100
_S = Replica.State
_P = Replica.Purpose


def hedge(*, now: datetime) -> int:
    """Ask for one more node for each chunk that is late; return how many."""
    return sum(_hedge_job(job_id, now=now) for job_id in _at_their_end())


def _at_their_end() -> list[str]:
    """Return open jobs that have work out and nothing to give out."""
    ready = Chunk.objects.filter(
        job=OuterRef("pk"), state=Chunk.State.OPEN, granted__lt=F("wanted")
    )
    out = Replica.objects.filter(job=OuterRef("pk"), state=_S.LEASED)
    jobs = Job.objects.filter(
        ~Exists(ready), Exists(out), state__in=candidates.OPEN, mode=Job.Mode.NORMAL
    ).exclude(smoke=Job.Smoke.RUNNING)
    return list(jobs.order_by("submitted_at", "pk").values_list("pk", flat=True)[:JOBS_MAX])


def _hedge_job(job_id: str, *, now: datetime) -> int:
    usual = _usual(job_id)
    if usual is None:
        return 0
    running = Replica.objects.filter(job=job_id, state=_S.LEASED)
    hedges = running.filter(purpose=_P.HEDGE).count()
    budget = max(1, int(SHARE_MAX * running.count())) - hedges
    if budget <= 0:
        return 0
    hedged = Replica.objects.filter(chunk=OuterRef("chunk"), purpose=_P.HEDGE)
    late = (
        running.filter(~Exists(hedged), assigned_at__lt=now - max(LATE_MIN, LATE_FROM * usual))
        .order_by("assigned_at", "pk")
        .values_list("chunk", flat=True)
    )
    chunk_ids = list(dict.fromkeys(late[: 2 * budget]))[:budget]
    # Conditional: what wants a node for another reason needs no hedge.
    return Chunk.objects.filter(
        pk__in=chunk_ids, state=Chunk.State.OPEN, granted=F("wanted")
    ).update(wanted=F("wanted") + 1, purpose=_P.HEDGE)


def _usual(job_id: str) -> timedelta | None:
    """Return what three quarters of the job's latest answers took at most."""
    answered = (
        Replica.objects.filter(job=job_id, state__in=[_S.REPORTED, _S.ACCEPTED])
        .order_by("-pk")
        .values_list("assigned_at", "reported_at")[:ANSWERS_MAX]
    )
    return percentile([end - start for start, end in answered if end is not None])


def percentile(durations: Sequence[timedelta]) -> timedelta | None:
    """Return the 75th percentile; None of too few."""
    if len(durations) < ANSWERS_MIN:
        return None
    return sorted(durations)[(3 * len(durations) - 1) // 4]
