"""The identity page: what is known of the user, and the form to hand it in."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from portal import countries, kyc
from portal.web import forms
from portal.web.requests import PageRequest
from tasks.errors import Refused


@require_http_methods(["GET", "POST"])
def show(request: PageRequest) -> HttpResponse:
    """Show the state of the identity check; take a new one in."""
    form = forms.IdentityForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                kyc.submit(user=request.user, now=timezone.now(), **form.cleaned_data)
            except Refused as refused:
                forms.add_refusal(form, refused)
                status = refused.status
            else:
                messages.success(request, "Handed in. Staff will look at it.")
                return redirect("identity")
    case = kyc.status(request.user)
    context = {
        "form": form,
        "case": case,
        "country": countries.NAMES.get(case.country, ""),
        "can_submit": case.status in {case.Status.NONE, case.Status.REJECTED},
    }
    return render(request, "identity/show.html", context, status=status)
