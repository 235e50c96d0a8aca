"""Staff look at an appeal with both answers drawn, and decide."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from portal import access
from portal.web import forms, work
from portal.web.requests import PageRequest
from tasks import appeals, queries
from tasks.errors import Refused
from tasks.models import Appeal


@require_http_methods(["GET", "POST"])
def show(request: PageRequest, appeal_id: str) -> HttpResponse:
    """Show the work, the rule and both answers; a POST decides."""
    appeal = access.appeal(request.user, appeal_id)
    form = forms.DecisionForm(request.POST or None)
    if request.method == "GET" or not form.is_valid():
        status = 200 if request.method == "GET" else 422
        return render(request, "appeals/show.html", _page(appeal, form), status=status)
    decide = appeals.uphold if form.cleaned_data["decision"] == "uphold" else appeals.deny
    try:
        decide(
            appeal_id=appeal.pk,
            staff_id=request.user.pk,
            note=form.cleaned_data["note"],
            now=timezone.now(),
        )
    except Refused as refused:
        messages.error(request, refused.detail)
    else:
        messages.success(request, "Decided.")
    return redirect("appeal", appeal.pk)


@require_GET
def image(request: PageRequest, appeal_id: str, position: str) -> HttpResponseBase:
    """Send a picture of the work that is appealed."""
    return work.picture(request, access.appeal(request.user, appeal_id).replica, position)


def _page(appeal: Appeal, form: forms.DecisionForm) -> dict[str, Any]:
    (view,) = queries.replica_views([appeal.replica], now=timezone.now())
    return {
        "appeal": appeal,
        "replica": view,
        "plates": work.plates(appeal.replica),
        "form": form,
        "is_open": appeal.state in appeals.OPEN,
    }
