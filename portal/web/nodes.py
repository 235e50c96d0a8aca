"""An operator's nodes: the cards, a new one, one node with its work and earnings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal import access, kyc
from portal.web import confirm, forms, paging
from portal.web.requests import PageRequest
from tasks import node_views, nodes, outlook, queries
from tasks.errors import Refused
from tasks.models import Node
from workers.protocol.allowance import Allowance, describe

#: Entries of `hardware` that the page shows from the node's newest message instead.
SHOWN_APART = frozenset({"numeric_class", "software_version"})
#: Refused work listed above all work.
REFUSED_SHOWN = 10


@require_GET
def index(request: PageRequest) -> HttpResponse:
    """Show a card for every node of the user."""
    views = node_views.of_owner(request.user.pk, now=timezone.now())
    context = {"nodes": [view for view in views if view.state != Node.State.RETIRED]}
    context["retired"] = [view for view in views if view.state == Node.State.RETIRED]
    return render(request, "nodes/index.html", context)


@require_http_methods(["GET", "POST"])
def new(request: PageRequest) -> HttpResponse:
    """Explain how a machine joins; a POST makes the one-time token and shows it."""
    if not request.user.is_operator:
        messages.warning(request, "Switch on the operator role to add nodes.")
        return redirect("account")
    context = {"is_person": kyc.is_person(request.user), "portal_url": settings.PUBLIC_URL}
    if request.method == "GET" or not context["is_person"]:
        status = 200 if request.method == "GET" else 403
        return render(request, "nodes/new.html", context, status=status)
    issued = nodes.issue_token(owner_id=request.user.pk, now=timezone.now())
    context["issued"] = issued
    context["until"] = issued.expires_at.isoformat()
    answer = render(request, "nodes/new.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


@require_GET
def wait(request: PageRequest) -> HttpResponse:
    """Tell whether the node has come for which the token of `?until=` was made."""
    now = timezone.now()
    until = _moment(request.GET.get("until", ""))
    found = access.nodes(request.user).filter(token__expires_at=until).first() if until else None
    view = node_views.of_node(found, now=now) if found else None
    is_expired = until is None or until < now
    is_online = view is not None and view.state == "online"
    expected = outlook.of_node(found, now=now) if found else None
    is_out = found is not None and found.state in {Node.State.RETIRED, Node.State.SUSPENDED}
    context = {
        "node": view,
        "until": request.GET.get("until", ""),
        "is_expired": is_expired,
        "is_online": is_online,
        "outlook": expected,
        # All has come that can, or nothing more is waited for: the page asks no longer.
        "is_waiting": not (is_expired or is_out or (is_online and expected)),
    }
    return render(request, "nodes/_wait.html", context)


@require_GET
def show(request: PageRequest, node_id: str) -> HttpResponse:
    """Show a node: what it does and why, its machine, its work and what each piece earned."""
    node = access.node(request.user, node_id)
    return render(
        request, "nodes/show.html", _page(request, node, forms.LimitsForm.of(node.wishes))
    )


@require_POST
def limits(request: PageRequest, node_id: str) -> HttpResponse:
    """Ask the node to keep to limits; its own file may be stricter still."""
    node = access.node(request.user, node_id)
    form = forms.LimitsForm(request.POST)
    if not form.is_valid():
        return render(request, "nodes/show.html", _page(request, node, form), status=422)
    try:
        nodes.set_wishes(node_id=node.pk, wishes=form.wishes())
    except Refused as refused:
        messages.error(request, refused.detail)
    else:
        messages.success(request, "Saved; the node has it within seconds while it is online.")
    return redirect("node", node.pk)


def _page(request: PageRequest, node: Node, form: forms.LimitsForm) -> dict[str, Any]:
    """Return what the node's page shows."""
    now = timezone.now()
    page = paging.read(queries.replica_rows(node.pk), request)
    view = node_views.of_node(node, now=now)
    return {
        "form": form,
        "rests": [form["only_when_idle"], form["no_battery"], form["no_metered"]],
        "allowed": _allowed(view.limits.file),
        "is_told": view.limits.is_told,
        "outlook": outlook.of_node(node, now=now),
        "node": view,
        "hardware": {key: value for key, value in view.hardware.items() if key not in SHOWN_APART},
        "page": page,
        "replicas": queries.replica_views(page.rows, now=now),
        "refused": queries.replica_views(
            list(queries.refused_rows(node.pk)[:REFUSED_SHOWN]), now=now
        ),
    }


def _allowed(file: Allowance) -> list[str]:
    """Say in words what the machine's own file allows; empty when it limits nothing."""
    return [f"{name.replace('_', ' ')}: {words}" for name, words in describe(file)]


@require_POST
def pause(request: PageRequest, node_id: str) -> HttpResponse:
    """Give the node no new work."""
    return _steer(request, node_id, nodes.pause)


@require_POST
def resume(request: PageRequest, node_id: str) -> HttpResponse:
    """Give the node work again."""
    return _steer(request, node_id, nodes.resume)


@require_http_methods(["GET", "POST"])
def retire(request: PageRequest, node_id: str) -> HttpResponse:
    """Ask whether the node should leave for good, then let it go."""
    if request.method == "POST":
        return _steer(request, node_id, nodes.retire)
    node = access.node(request.user, node_id)
    question = confirm.Confirmation(
        title=f"Retire {node.name}?",
        text=(
            "It leaves for good: its access ends at once and what it is computing goes to "
            "another node. What it has earned stays yours. To come back it enrols anew."
        ),
        verb="Retire node",
        url=reverse("node-retire", args=[node.pk]),
        back=reverse("node", args=[node.pk]),
    )
    return confirm.ask(request, question)


def _steer(request: PageRequest, node_id: str, change: Callable[..., Node]) -> HttpResponse:
    node = access.node(request.user, node_id)
    try:
        change(node_id=node.pk, now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("node", node.pk)


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None
