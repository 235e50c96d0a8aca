"""Jobs of a client: the list, the three ways to steer one, the downloads."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from payments import money
from payments import queries as money_queries
from portal import access
from portal.templatetags.nodefolk import amount
from portal.web import confirm, paging
from portal.web.requests import PageRequest
from tasks import jobs, receipts, results
from tasks.errors import Refused
from tasks.models import Job

MEDIA_TYPES = MappingProxyType(
    {
        "jsonl": "application/x-ndjson",
        "coco": "application/json",
        "csv": "text/csv; charset=utf-8",
    }
)
ENDINGS = MappingProxyType({"jsonl": "jsonl", "coco": "coco.json", "csv": "csv"})


@require_GET
def index(request: PageRequest) -> HttpResponse:
    """List the user's jobs, newest first."""
    rows = access.jobs(request.user).order_by("-submitted_at", "-id")
    return render(request, "jobs/index.html", {"page": paging.read(rows, request)})


@require_POST
def pause(request: PageRequest, job_id: str) -> HttpResponse:
    """Hand out no more work of the job."""
    return _steer(request, job_id, jobs.pause)


@require_POST
def resume(request: PageRequest, job_id: str) -> HttpResponse:
    """Go on with a paused job."""
    return _steer(request, job_id, jobs.resume)


@require_http_methods(["GET", "POST"])
def cancel(request: PageRequest, job_id: str) -> HttpResponse:
    """Ask whether to cancel, then cancel."""
    if request.method == "POST":
        return _steer(request, job_id, jobs.cancel)
    job = access.job(request.user, job_id)
    escrow = money_queries.escrow("job", job.pk)
    decided = job.items_provisional + job.items_final
    question = confirm.Confirmation(
        title="Cancel this job?",
        text=(
            f"{decided} of {job.items_total} pictures have a result and stay. "
            f"Work under way is paid; of the {amount(escrow.held_minor)} {money.ASSET} "
            "still held, the rest comes back at once. This cannot be undone."
        ),
        verb="Cancel job",
        url=reverse("job-cancel", args=[job.pk]),
        back=reverse("job", args=[job.pk]),
        keep="Keep it running",
    )
    return confirm.ask(request, question)


@require_GET
def download(request: PageRequest, job_id: str, form: str) -> HttpResponseBase:
    """Stream the results so far as a file."""
    job = access.job(request.user, job_id)
    if form not in MEDIA_TYPES:
        raise Http404
    return StreamingHttpResponse(
        results.export(job_id=job.pk, format_name=form),
        content_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{job.pk}.{ENDINGS[form]}"'},
    )


@require_GET
def receipt(request: PageRequest, job_id: str) -> HttpResponseBase:
    """Stream the signed receipt as a file."""
    job = access.job(request.user, job_id)
    return StreamingHttpResponse(
        receipts.write(job_id=job.pk, now=timezone.now()),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{job.pk}.receipt.json"'},
    )


def _steer(request: PageRequest, job_id: str, change: Callable[..., Job]) -> HttpResponse:
    job = access.job(request.user, job_id)
    try:
        change(job_id=job.pk, now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("job", job.pk)
