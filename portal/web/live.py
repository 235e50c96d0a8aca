"""The page of a job, which follows it by asking every few seconds for what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from portal import access
from portal.web import drawing, pictures
from portal.web.requests import PageRequest
from tasks import checks, queries
from tasks.models import Job
from tasks.reasons import ChunkReason, EventCode, JobReason, ReplicaReason

#: Newest pictures and events shown on the page; the rest is a link away.
PICTURES_SHOWN = 24
EVENTS_SHOWN = 30
#: Money is posted shortly after the last verdict: the page looks this much longer.
SETTLING = timedelta(seconds=20)
#: Age of a job -> seconds between two looks.
PACE = (
    (timedelta(seconds=15), 1),
    (timedelta(minutes=2), 2),
    (timedelta(minutes=10), 5),
    (timedelta.max, 15),
)


@dataclass(frozen=True, kw_only=True)
class EventLine:
    """Something that happened, as a sentence."""

    text: str
    at: datetime


@require_GET
def show(request: PageRequest, job_id: str) -> HttpResponse:
    """Show all of a job."""
    job = access.job(request.user, job_id)
    view = queries.job_view(job)
    return render(request, "jobs/show.html", _context(job, view, now=timezone.now()))


@require_GET
def poll(request: PageRequest, job_id: str) -> HttpResponse:
    """Answer the parts that change, or 204 when the page has them already."""
    job = access.job(request.user, job_id)
    now = timezone.now()
    view = queries.job_view(job)
    if request.GET.get("v") == _stamp(view) and pace_seconds(job, now=now):
        return HttpResponse(status=204)
    return render(request, "jobs/_live.html", {**_context(job, view, now=now), "is_poll": True})


def _stamp(view: queries.JobView) -> str:
    """Return what differs when the page would; money moves without a new version."""
    return f"{view.version}-{view.acks_count}-{view.held_minor}"


def _context(job: Job, view: queries.JobView, *, now: datetime) -> dict[str, Any]:
    acks = queries.job_acks(job.pk)
    return {
        "job": view,
        "stamp": _stamp(view),
        "pace_seconds": pace_seconds(job, now=now),
        "done": view.items_provisional + view.items_final + view.items_failed,
        "acks": acks,
        "asked": max(len(acks), job.nodes_asked),
        "timeline": drawing.timeline([ack.latency_ms for ack in acks]),
        "tiles": pictures.newest(job, limit=PICTURES_SHOWN),
        "events": _events(job),
        "score_threshold": job.score_threshold,
        "checks": checks.of_job(job, now=now),
    }


def pace_seconds(job: Job, *, now: datetime) -> int:
    """Return the seconds until the next look; 0 when nothing will change any more."""
    if job.finished_at is not None and now - job.finished_at > SETTLING:
        return 0
    age = now - job.submitted_at
    return next(seconds for until, seconds in PACE if age < until)


def _events(job: Job) -> list[EventLine]:
    rows = job.events.order_by("-id")[:EVENTS_SHOWN]
    return [EventLine(text=_sentence(row.code, row.detail), at=row.created_at) for row in rows]


def _sentence(code: str, detail: dict[str, Any]) -> str:
    text = EventCode(code).label if code in EventCode.values else code
    reason = detail.get("reason", "")
    for known in (JobReason, ChunkReason, ReplicaReason):
        if reason in known.values:
            return f"{text} {known(reason).label}"
    return text
