"""The account page: e-mail, password, roles, what the account is for."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from portal import roles
from portal.web import forms
from portal.web.requests import PageRequest


@require_GET
def show(request: PageRequest) -> HttpResponse:
    """Show who the user is and what they can do."""
    form = forms.CategoryForm(initial={"client_category": request.user.client_category})
    return render(request, "account/overview.html", {"category": form})


@require_POST
def declare(request: PageRequest) -> HttpResponse:
    """Note what the client says the account is for."""
    form = forms.CategoryForm(request.POST)
    if not form.is_valid():
        return render(request, "account/overview.html", {"category": form}, status=422)
    try:
        roles.declare_category(user=request.user, category=form.cleaned_data["client_category"])
    except roles.CategoryFixed as refused:
        messages.error(request, refused.detail)
    else:
        messages.success(request, "Saved; jobs you buy from now on carry it.")
    return redirect("account")


@require_POST
def switch_operator(request: PageRequest) -> HttpResponse:
    """Switch the operator role on, or off while no node is enrolled."""
    is_on = request.POST.get("is_operator") == "1"
    try:
        roles.switch_operator(user=request.user, is_operator=is_on)
    except roles.NodesEnrolled as refused:
        messages.error(request, refused.detail)
    return redirect("account")
