"""One piece of a node's work: its pictures, the evidence when it was refused, the appeal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from portal import access, files
from portal.web import drawing, forms, pictures
from portal.web.requests import PageRequest
from tasks import appeals, evidence, queries
from tasks.errors import Refused
from tasks.models import Blob, Job, Replica


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A picture with what is drawn on it and said under it."""

    shown: evidence.Shown
    text_size: float
    #: As the node answered, where nothing stands beside it.
    boxes: list[drawing.Box]
    #: Only the node says so; only the accepted answer says so; both say so.
    own: list[evidence.Thing] = field(default_factory=list)
    right: list[evidence.Thing] = field(default_factory=list)
    both: list[evidence.Thing] = field(default_factory=list)
    #: None where the accepted answer is not told.
    is_same: bool | None = None
    drawn: tuple[tuple[str, list[drawing.Box]], ...] = ()


@require_GET
def show(request: PageRequest, replica_id: str) -> HttpResponse:
    """Show what the node answered, what it earned, and why not if it earned nothing."""
    replica = access.replica(request.user, replica_id)
    return render(request, "nodes/work.html", _page(replica, forms.AppealForm()))


@require_POST
def appeal(request: PageRequest, replica_id: str) -> HttpResponse:
    """Take the operator's word against the refusal."""
    replica = access.replica(request.user, replica_id)
    form = forms.AppealForm(request.POST)
    if not form.is_valid():
        return render(request, "nodes/work.html", _page(replica, form), status=422)
    try:
        appeals.lodge(
            replica_id=replica.pk,
            operator_id=request.user.pk,
            text=form.cleaned_data["text"],
            now=timezone.now(),
        )
    except Refused as refused:
        messages.error(request, refused.detail)
    else:
        messages.success(request, "Your appeal is in. You find its outcome on this page.")
    return redirect("work", replica.pk)


@require_GET
def image(request: PageRequest, replica_id: str, position: str) -> HttpResponseBase:
    """Send a picture that the user's own node was given, never another."""
    return picture(request, access.replica(request.user, replica_id), position)


def picture(request: PageRequest, replica: Replica, position: str) -> HttpResponseBase:
    """Send the picture at a place of the work; 404 where there is none."""
    digests = {str(each.position): each.digest for each in evidence.shown(replica)}
    blob = get_object_or_404(Blob, pk=digests.get(position, ""))
    return files.picture_response(request, blob, pictures.side(request))


def plates(replica: Replica) -> list[Plate]:
    """Draw the pictures of a piece of work, with both answers where they may be told."""
    if replica.state != Replica.State.REJECTED:
        return [_plate(replica, each) for each in evidence.shown(replica)]
    return [
        _plate(replica, each.shown) if each.accepted is None else _beside(replica, each)
        for each in evidence.compare(replica)
    ]


def _page(replica: Replica, form: forms.AppealForm) -> dict[str, Any]:
    (view,) = queries.replica_views([replica], now=timezone.now())
    drawn = plates(replica)
    return {
        "node": replica.node,
        "replica": view,
        "plates": drawn,
        "differing": sum(plate.is_same is False for plate in drawn),
        "is_compared": any(plate.is_same is not None for plate in drawn),
        "form": form,
    }


def _plate(replica: Replica, each: evidence.Shown) -> Plate:
    return Plate(
        shown=each,
        text_size=drawing.text_size(each.width, each.height),
        boxes=drawing.boxes(evidence.labelled(replica, each), width=each.width, height=each.height),
    )


def _beside(replica: Replica, each: evidence.Compared) -> Plate:
    assert each.accepted is not None
    own = [thing for thing in each.own if not thing.agrees]
    right = [thing for thing in each.accepted if not thing.agrees]
    both = [thing for thing in each.accepted if thing.agrees]
    is_drawn = replica.job.kind == Job.Kind.DETECT  # a class is said in words
    return Plate(
        shown=each.shown,
        text_size=drawing.text_size(each.shown.width, each.shown.height),
        boxes=[],
        own=own,
        right=right,
        both=both,
        is_same=each.is_same,
        drawn=tuple(
            (css, _boxes(each.shown, things if is_drawn else []))
            for css, things in (("both", both), ("right", right), ("own", own))
        ),
    )


def _boxes(shown: evidence.Shown, things: list[evidence.Thing]) -> list[drawing.Box]:
    found = [{"label": it.label, "score": it.score, "box": it.box} for it in things]
    return drawing.boxes(found, width=shown.width, height=shown.height)
