"""The page on which a client buys a job, and its live quote."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from payments import ledger
from payments import queries as money_queries
from portal import access
from portal.models import User
from portal.web import forms
from portal.web.doors import client_only
from portal.web.requests import PageRequest
from tasks import jobs, requests
from tasks.errors import Refused
from tasks.models import CatalogModel
from tasks.verification import acceptance

#: Data sets offered in the list; older ones are reached from their own page.
DATASETS_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One target error, in words."""

    value: str
    name: str
    promise: str
    nodes: int


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A quote, or why there is none, and whether the user can pay it."""

    quote: jobs.Quote | None
    problem: str
    available_minor: int

    @property
    def missing_minor(self) -> int:
        """How much money is short."""
        price_minor = self.quote.price_minor if self.quote else 0
        return max(0, price_minor - self.available_minor)

    @property
    def returned_minor(self) -> int:
        """What will likely come back of the price."""
        return self.quote.price_minor - self.quote.expected_minor if self.quote else 0

    @property
    def believed_percent(self) -> int:
        """How many nodes of a hundred are believed on their word alone."""
        return int(100 * self.quote.believed_share) if self.quote else 0

    @property
    def eta_p90_ms(self) -> int:
        """Nine of ten such jobs take no longer."""
        return 1000 * self.quote.eta_p90_seconds if self.quote else 0


@require_http_methods(["GET", "POST"])
@client_only
def new(request: PageRequest) -> HttpResponse:
    """Show the form; buy what it says. `quote` in the POST only asks for the price."""
    models = list(access.models(request.user).order_by("name", "-created_at"))
    if request.method == "GET":
        chosen = request.GET.get("dataset", "")
        form = _form(request.user, models, chosen=chosen, model=request.GET.get("model", ""))
        return _page(request, form, models, _offer(request.user, form), status=200)
    form = _form(request.user, models, data=request)
    asks_price = "quote" in request.POST
    if form.is_valid() and not asks_price:
        try:
            job = jobs.submit(
                owner_id=request.user.pk,
                request=form.job_request(),
                now=timezone.now(),
                client_category=request.user.client_category,
            )
        except Refused as refused:
            forms.add_refusal(form, refused)
        except ledger.InsufficientFunds:
            form.add_error(None, "Your available balance is smaller than the price.")
        else:
            return redirect("job", job.pk)
    status = 200 if asks_price and form.is_valid() else 422
    return _page(request, form, models, _offer(request.user, form), status=status)


@require_POST
@client_only
def quote(request: PageRequest) -> HttpResponse:
    """Answer the price of the choices as they stand."""
    models = list(access.models(request.user))
    form = _form(request.user, models, data=request)
    offer = _offer(request.user, form)
    return render(request, "jobs/_quote.html", {"offer": offer}, status=200 if offer.quote else 422)


def _form(
    user: User,
    models: list[CatalogModel],
    *,
    chosen: str = "",
    model: str = "",
    data: PageRequest | None = None,
) -> forms.OrderForm:
    datasets = access.datasets(user).annotate(images_count=Count("images"))
    rows = list(datasets.order_by("-created_at", "-id")[:DATASETS_SHOWN])
    wanted = data.POST.get("dataset", "") if data else chosen
    if wanted and wanted not in {row.pk for row in rows}:
        rows += datasets.filter(pk=wanted)
    choices = [
        (row.pk, f"{row.name} ({row.images_count} picture{'s'[: row.images_count != 1]})")
        for row in rows
    ]
    return forms.OrderForm(
        data.POST if data else None,
        datasets=choices or [("", "None yet: drop pictures below")],
        models=models,
        initial={
            "dataset": chosen or (choices[0][0] if choices else ""),
            "model": _first(models, model),
            "kind": next((each.kind for each in models if each.pk == _first(models, model)), ""),
        },
    )


def _first(models: list[CatalogModel], wanted: str) -> str:
    """Return the model asked for; else the platform's oldest, its detector; else any."""
    if any(each.pk == wanted for each in models):
        return wanted
    own = sorted((each for each in models if each.owner_id is None), key=lambda each: each.pk)
    return next((each.pk for each in [*own, *models]), "")


def _offer(user: User, form: forms.OrderForm) -> Offer:
    available_minor = money_queries.wallet(user.pk).available_minor
    request = _request(form)
    if request is None:
        return Offer(quote=None, problem="", available_minor=available_minor)
    try:
        found = jobs.quote(
            owner_id=user.pk,
            request=request,
            now=timezone.now(),
            client_category=user.client_category,
        )
    except Refused as refused:
        return Offer(quote=None, problem=refused.detail, available_minor=available_minor)
    return Offer(quote=found, problem="", available_minor=available_minor)


def _request(form: forms.OrderForm) -> requests.JobRequest | None:
    """Return what the form says, from its data or, unsent, from its first values."""
    if form.is_bound:
        needed = ("dataset", "model", "target_error", "score_threshold")
        form.is_valid()
        return form.job_request() if all(key in form.cleaned_data for key in needed) else None
    if not form.initial["dataset"] or not form.initial["model"]:
        return None
    return requests.JobRequest(
        kind=form.initial["kind"],
        dataset_id=form.initial["dataset"],
        model_id=form.initial["model"],
        target_error=form.fields["target_error"].initial,
        score_threshold=form.fields["score_threshold"].initial,
    )


def _page(
    request: PageRequest,
    form: forms.OrderForm,
    models: list[CatalogModel],
    offer: Offer,
    *,
    status: int,
) -> HttpResponse:
    qualities = [
        Quality(
            value=value,
            name=name,
            promise=promise,
            nodes=acceptance.planned_replicas(target_error=value, mode="normal"),
        )
        for value, (name, promise) in forms.QUALITIES.items()
    ]
    context = {"form": form, "models": models, "qualities": qualities, "offer": offer}
    return render(request, "jobs/new.html", context, status=status)
