"""API keys: list, make (the secret is shown once), revoke."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from portal import access, keys
from portal.web import confirm, forms
from portal.web.requests import PageRequest
from tasks.errors import Refused


@require_http_methods(["GET", "POST"])
def index(request: PageRequest) -> HttpResponse:
    """List the keys; a POST makes one and shows its secret this one time."""
    now = timezone.now()
    if request.method == "GET":
        return _page(request, forms.KeyForm(), now=now)
    form = forms.KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, form, now=now, status=422)
    days = form.cleaned_data["days"]
    try:
        created = keys.create(
            user=request.user,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=now + timedelta(days=days) if days else None,
            now=now,
        )
    except Refused as refused:
        forms.add_refusal(form, refused)
        return _page(request, form, now=now, status=refused.status)
    answer = _page(request, forms.KeyForm(), now=now, created=created)
    answer["Cache-Control"] = "no-store"
    return answer


@require_http_methods(["GET", "POST"])
def revoke(request: PageRequest, key_id: str) -> HttpResponse:
    """Ask whether to end the key, then end it."""
    key = access.key(request.user, key_id)
    if request.method == "POST":
        try:
            keys.revoke(key_id=key.pk, user=request.user, now=timezone.now())
        except Refused as refused:
            messages.error(request, refused.detail)
        else:
            messages.success(request, f"The key {key.name} no longer works.")
        return redirect("key-list")
    question = confirm.Confirmation(
        title=f"Revoke {key.name}?",
        text="Whatever uses this key is refused from now on. This cannot be undone.",
        verb="Revoke key",
        url=reverse("key-revoke", args=[key.pk]),
        back=reverse("key-list"),
    )
    return confirm.ask(request, question)


def _page(
    request: PageRequest,
    form: forms.KeyForm,
    *,
    now: datetime,
    created: keys.CreatedKey | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "form": form,
        "keys": access.keys(request.user).order_by("-created_at", "-id"),
        "created": created,
        "portal_url": settings.PUBLIC_URL,
        "now": now,
    }
    return render(request, "keys/index.html", context, status=status)
