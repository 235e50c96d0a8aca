"""The account page: e-mail, password, roles."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from portal import roles
from portal.web.requests import PageRequest


@require_GET
def show(request: PageRequest) -> HttpResponse:
    """Show who the user is and what they can do."""
    return render(request, "account/overview.html", {})


@require_POST
def switch_operator(request: PageRequest) -> HttpResponse:
    """Switch the operator role on, or off while no node is enrolled."""
    is_on = request.POST.get("is_operator") == "1"
    try:
        roles.switch_operator(user=request.user, is_operator=is_on)
    except roles.NodesEnrolled as refused:
        messages.error(request, refused.detail)
    return redirect("account")
