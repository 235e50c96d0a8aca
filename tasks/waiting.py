"""Why a job waits, in the words of `reasons.JobReason`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from tasks import allowances, candidates, events, fleet
from tasks.models import Ack, Chunk, Job, Replica
from tasks.reasons import EventCode, JobReason

#: Waits that stand in the job's history; busy nodes come and go too often to be told.
_WORTH_TELLING: Final = (
    JobReason.NO_CAPABLE_NODES,
    JobReason.OWNERS_EXHAUSTED,
    JobReason.NUMERIC_CLASS_SHORTAGE,
    JobReason.CATEGORY_EXCLUDED,
    JobReason.PLATFORM_DRAINED,
)
#: Gate -> the client's word for it, the most telling first.
GATE_WORDS: Final = (
    ("numeric_class", JobReason.NUMERIC_CLASS_SHORTAGE),
    ("owner_tried", JobReason.OWNERS_EXHAUSTED),
    ("kept_apart", JobReason.OWNERS_EXHAUSTED),
    ("same_network", JobReason.OWNERS_EXHAUSTED),
    ("quota", JobReason.QUOTA),
    ("barred", JobReason.QUOTA),
    ("share", JobReason.PRIORITY_QUEUE),
    ("slow", JobReason.NODES_BUSY),
    ("no_slot", JobReason.NODES_BUSY),
    # Last: while others could have it, it is not for this that the job waits.
    ("client_category", JobReason.CATEGORY_EXCLUDED),
)
#: Words that may hide, or be hidden by, limits on the clients that nodes work for.
_LEFT_OUT: Final = (JobReason.NO_CAPABLE_NODES, JobReason.CATEGORY_EXCLUDED)
#: Nodes looked at to tell which.
_NODES_MAX: Final = 500
#: Refusals that say nothing of a node that could have had the chunk.
NOBODYS: Final = frozenset({"own_node", "not_asked"})


def explain(jobs: Sequence[Job], *, refusals: Mapping[str, Counter[str]], now: datetime) -> None:
    """Write down why each of these jobs got nothing. Four queries, and one a reason."""
    open_jobs = [job for job in jobs if job.state in candidates.OPEN]
    if not open_jobs:
        return
    others = fleet.online(now=now).exclude(owner_id=OuterRef("job__owner"))
    acked = set(
        Ack.objects.filter(job__in=open_jobs)
        .filter(Exists(others.filter(pk=OuterRef("node"))))
        .values_list("job", flat=True)
    )
    words = {
        job.pk: _word(refusals.get(job.pk, Counter()))
        if job.pk in acked
        else JobReason.NO_CAPABLE_NODES
        for job in open_jobs
    }
    words |= _words_of_left_out(
        {job: words[job.pk] for job in open_jobs if words[job.pk] in _LEFT_OUT}, now=now
    )
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for job_id, word in words.items():
        by_reason[word].append(job_id)
    for reason, job_ids in sorted(by_reason.items()):
        _set(Job.objects.filter(pk__in=job_ids), reason, now=now)
    _pass_over([job.pk for job in open_jobs], now=now)


def _word(refused: Counter[str]) -> JobReason:
    """Choose the client's word; nodes that refused for themselves alone do not count."""
    told = {why for why in refused if why not in NOBODYS}
    return next((word for why, word in GATE_WORDS if why in told), JobReason.NODES_BUSY)


def _words_of_left_out(jobs: Mapping[Job, JobReason], *, now: datetime) -> dict[str, JobReason]:
    """Tell whether anybody who is there works for such clients. One query, none without jobs.

    Nodes that do not are silent: they acknowledge no job that they will not take. While one
    that does is only busy, it is for that one that the job waits.
    """
    if not jobs:
        return {}
    rows = fleet.online(now=now).values_list("owner", "wishes", "profile").order_by("pk")
    there = [
        (owner, allowances.client_categories(wishes, profile))
        for owner, wishes, profile in rows[:_NODES_MAX]
    ]
    words = {}
    for job, word in jobs.items():
        others = [served for owner, served in there if owner != job.owner_id]
        is_served = any(each is None or job.client_category in each for each in others)
        if others and not is_served:
            words[job.pk] = JobReason.CATEGORY_EXCLUDED
        elif word == JobReason.CATEGORY_EXCLUDED:
            words[job.pk] = JobReason.NODES_BUSY
    return words


def explain_drained(jobs: Sequence[Job], *, now: datetime) -> None:
    """Write down that no job is given out work: the platform is drained. Up to three queries."""
    named = [job.pk for job in jobs if job.state in candidates.OPEN]
    _set(Job.objects.filter(pk__in=named), JobReason.PLATFORM_DRAINED, now=now)


def explain_at_work(*, now: datetime) -> None:
    """Write down what open jobs wait for that have nothing to give out. Three statements."""
    ready = Chunk.objects.filter(
        job=OuterRef("pk"), state=Chunk.State.OPEN, granted__lt=F("wanted")
    )
    answered = Replica.objects.filter(job=OuterRef("pk"), state=Replica.State.REPORTED)
    asked = Chunk.objects.filter(
        job=OuterRef("pk"), referee_asked_at__isnull=False, referee_at=None
    )
    at_work = Job.objects.filter(~Exists(ready), state__in=candidates.OPEN)
    _set(at_work.filter(Exists(asked)), JobReason.REFEREE, now=now)
    _set(at_work.filter(~Exists(asked), Exists(answered)), JobReason.VERIFYING, now=now)
    _set(at_work.filter(~Exists(asked), ~Exists(answered)), "", now=now)


def _set(jobs: QuerySet[Job], reason: str, *, now: datetime) -> None:
    changed = list(
        jobs.filter(state__in=candidates.OPEN)
        .exclude(reason=reason)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not changed:
        return
    Job.objects.filter(pk__in=changed, state__in=candidates.OPEN).update(
        reason=reason, version=F("version") + 1
    )
    if reason in _WORTH_TELLING:
        events.record_all(
            job_ids=changed, code=EventCode.WAITING, detail={"reason": str(reason)}, now=now
        )


def _pass_over(job_ids: Sequence[str], *, now: datetime) -> None:
    """Let others come first for a while: jobs that cannot be served block none that can."""
    lately = Q(passed_over_at=None) | Q(passed_over_at__lt=now - candidates.PASSED_OVER)
    Job.objects.filter(lately, pk__in=job_ids).update(passed_over_at=now)
