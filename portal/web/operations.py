"""Staff look at the whole platform, at any node and job, and act on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from portal import access
from portal.web import operation_actions
from portal.web import operation_forms as forms
from portal.web.requests import PageRequest
from tasks.errors import Refused
from tasks.models import CatalogModel, Node
from tasks.operations import details, log, overview, quarantines


@require_GET
def show(request: PageRequest) -> HttpResponse:
    """Show queues, work, gates, nodes, trust and checks, and what staff did."""
    access.operations(request.user)
    now = timezone.now()
    taken = overview.take(now=now)
    context = {
        "now": now,
        "overview": taken,
        "is_swept": taken.platform.swept_at is not None
        and (now - taken.platform.swept_at).total_seconds() < overview.SWEPT_WITHIN_SECONDS,
        "count_max": overview.COUNT_MAX,
        "jobs": overview.waiting_jobs(),
        "nodes": overview.kept_back_nodes(),
        "actions": overview.actions(),
    }
    return render(request, "operations/show.html", context)


@require_GET
def find(request: PageRequest) -> HttpResponse:
    """Lead to the node or job of this id."""
    access.operations(request.user)
    named = request.GET.get("id", "").strip()
    try:
        if named.startswith("job_"):
            return redirect(
                "operations-job", access.any_job(request.user, named, is_changed=False).pk
            )
        return redirect(
            "operations-node", access.any_node(request.user, named, is_changed=False).pk
        )
    except access.NotFound:
        messages.error(request, "There is no node or job of that id.")
    return redirect("operations")


@require_GET
def node(request: PageRequest, node_id: str) -> HttpResponse:
    """Show any node: what it holds, is believed, has said, and what was done to it."""
    row = access.any_node(request.user, node_id, is_changed=False)
    now = timezone.now()
    context = {"node": row, "detail": details.of_node(row, now=now), "now": now}
    return render(request, "operations/node.html", context)


@require_GET
def job(request: PageRequest, job_id: str) -> HttpResponse:
    """Show any job: its chunks by state, why it waits, and what was done to it."""
    row = access.any_job(request.user, job_id, is_changed=False)
    context = {"job": row, "detail": details.of_job(row), "now": timezone.now()}
    return render(request, "operations/job.html", context)


@require_http_methods(["GET", "POST"])
def act_on_platform(request: PageRequest, verb: str) -> HttpResponse:
    """Drain the platform, or let it go on."""
    access.operations(request.user, to_change="node")
    return _act(
        request,
        operation_actions.PLATFORM,
        verb,
        key=log.PLATFORM,
        name="the platform",
        back=reverse("operations"),
    )


@require_http_methods(["GET", "POST"])
def act_on_node(request: PageRequest, node_id: str, verb: str) -> HttpResponse:
    """Drain, quarantine or replay a node, or undo it."""
    row = access.any_node(request.user, node_id, is_changed=True)
    back = reverse("operations-node", args=[row.pk])
    fields = {"models": _models(row, verb)} if verb in {"quarantine", "lift"} else {}
    return _act(
        request, operation_actions.NODE, verb, key=row.pk, name=row.name, back=back, fields=fields
    )


@require_http_methods(["GET", "POST"])
def act_on_job(request: PageRequest, job_id: str, verb: str) -> HttpResponse:
    """Verify a job's results again, or replay it."""
    row = access.any_job(request.user, job_id, is_changed=True)
    back = reverse("operations-job", args=[row.pk])
    return _act(request, operation_actions.JOB, verb, key=row.pk, name=row.pk, back=back)


@require_http_methods(["GET", "POST"])
def retake(request: PageRequest, message_id: str) -> HttpResponse:
    """Take a kept message in again."""
    row = access.message(request.user, message_id)
    back = reverse("operations-node", args=[row.node_id])
    return _act(
        request,
        operation_actions.MESSAGE,
        "retake",
        key=str(row.pk),
        name=f"message {row.pk}",
        back=back,
    )


def _act(
    request: PageRequest,
    actions: Mapping[str, operation_actions.Action],
    verb: str,
    *,
    key: str,
    name: str,
    back: str,
    fields: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Ask; a POST of a valid form does it and leads back."""
    if verb not in actions:
        raise access.NotFound("There is no such thing here.")
    action = actions[verb]
    form = action.form(request.POST if request.method == "POST" else None, **(fields or {}))
    if request.method == "GET" or not form.is_valid():
        context = {"action": action, "form": form, "name": name, "back": back}
        status = 200 if request.method == "GET" else 422
        return render(request, "operations/act.html", context, status=status)
    try:
        said = action.do(key, form, request.user.pk, timezone.now())
    except Refused as refused:
        messages.warning(request, refused.detail)
    else:
        messages.success(request, said)
    return redirect(back)


def _models(node: Node, verb: str) -> list[tuple[str, str]]:
    """Return what a quarantine can be for, or is for."""
    if verb == "lift":
        everything = [(forms.ALL_MODELS, "all models")] if node.quarantined_at else []
        return everything + [
            (row.model_id, str(row.model)) for row in quarantines.models_of(node.pk)
        ]
    models = CatalogModel.objects.order_by("-is_offered", "name", "pk")[: overview.MODELS_MAX]
    return [(forms.ALL_MODELS, "all models"), *((row.pk, str(row)) for row in models)]
