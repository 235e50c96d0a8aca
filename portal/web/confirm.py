"""One page for every step that cannot be taken back; app.js shows it as a dialog."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render

from portal.web.requests import PageRequest


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What is asked, what it means, and the two ways out."""

    title: str
    text: str
    #: On the button that does it.
    verb: str
    #: Where the button posts to.
    url: str
    #: Where the other button leads.
    back: str
    keep: str = "Keep it"


def ask(request: PageRequest, confirm: Confirmation) -> HttpResponse:
    """Answer with the whole page, or with the dialog's inside when htmx asks."""
    template = "parts/confirm.html" if request.htmx else "confirm.html"
    return render(request, template, {"confirm": confirm})
