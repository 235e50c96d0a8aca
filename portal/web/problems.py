"""The page behind a problem's `type`: what a code means and what to do."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.api.codes import EXPLANATIONS


@login_not_required
@require_safe
def show(request: HttpRequest, code: str = "") -> HttpResponse:
    """Show one code, or all of them."""
    if code and code not in EXPLANATIONS:
        raise Http404
    shown = {code: EXPLANATIONS[code]} if code else EXPLANATIONS
    return render(request, "problems/show.html", {"code": code, "explanations": shown})
