"""The first page after signing in: figures by role, recent jobs, what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, Sum
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from payments import queries as money_queries
from portal import access, kyc
from portal.models import User
from portal.web.requests import PageRequest
from tasks import node_views
from tasks.models import Job

JOBS_SHOWN = 6
OPEN = (Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do first, and whether it is done."""

    title: str
    icon: str
    url: str
    is_done: bool


@require_GET
def show(request: PageRequest) -> HttpResponse:
    """Show what the user's roles have to tell."""
    user, now = request.user, timezone.now()
    context: dict[str, Any] = {"wallet": money_queries.wallet(user.pk), "steps": []}
    if user.is_client:
        context |= _client(user, now=now)
    if user.is_operator:
        context |= _operator(user, now=now)
    context["steps"] = [*context.get("client_steps", []), *context.get("operator_steps", [])]
    context["has_steps_left"] = any(not step.is_done for step in context["steps"])
    return render(request, "overview/show.html", context)


def _client(user: User, *, now: datetime) -> dict[str, Any]:
    jobs = access.jobs(user)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    figures = jobs.aggregate(
        open=Count("pk", filter=Q(state__in=OPEN)),
        jobs=Count("pk"),
        pictures=Sum("items_final", filter=Q(submitted_at__gte=month), default=0),
    )
    steps = [
        Step(
            title="Upload a data set",
            icon="upload",
            url=reverse("dataset-new"),
            is_done=access.datasets(user).exists(),
        ),
        Step(
            title="Run your first job",
            icon="photo",
            url=reverse("job-new"),
            is_done=figures["jobs"] > 0,
        ),
        Step(
            title="Make an API key",
            icon="key",
            url=reverse("key-list"),
            is_done=access.keys(user).exists(),
        ),
    ]
    recent = list(jobs.order_by("-submitted_at", "-id")[:JOBS_SHOWN])
    return {"figures": figures, "jobs": recent, "client_steps": steps}


def _operator(user: User, *, now: datetime) -> dict[str, Any]:
    nodes = [node for node in node_views.of_owner(user.pk, now=now) if node.state != "retired"]
    steps = [
        Step(
            title="Show who you are",
            icon="id-badge-2",
            url=reverse("identity"),
            is_done=kyc.is_person(user),
        ),
        Step(
            title="Add your first node",
            icon="server-2",
            url=reverse("node-new"),
            is_done=bool(nodes),
        ),
    ]
    return {
        "nodes": nodes[:JOBS_SHOWN],
        "nodes_count": len(nodes),
        "nodes_online": sum(node.state == "online" for node in nodes),
        "operator_steps": steps,
    }
