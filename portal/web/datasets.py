"""Data sets: list, new, pictures, upload (with or without JavaScript)."""

from __future__ import annotations

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.datastructures import MultiValueDict
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal import access, files
from portal.web import forms, paging, pictures
from portal.web.doors import client_only
from portal.web.requests import PageRequest
from tasks import datasets
from tasks.errors import Refused
from tasks.models import Dataset

#: Refused files told on the page after a plain upload.
REJECTIONS_SHOWN = 100
_SESSION_KEY = "rejected_files"


@require_GET
def index(request: PageRequest) -> HttpResponse:
    """List the user's data sets, newest first."""
    rows = access.datasets(request.user).annotate(images_count=Count("images"))
    page = paging.read(rows.order_by("-created_at", "-id"), request)
    return render(request, "datasets/index.html", {"page": page})


@require_http_methods(["GET", "POST"])
@client_only
def new(request: PageRequest) -> HttpResponse:
    """Make a data set, with the first files if some came along."""
    if request.method == "GET":
        return render(request, "datasets/new.html", {"form": forms.DatasetForm()})
    form = forms.DatasetForm(request.POST)
    if not form.is_valid():
        return _refuse_new(request, form)
    try:
        dataset = datasets.create(
            owner_id=request.user.pk, name=form.cleaned_data["name"], now=timezone.now()
        )
    except Refused as refused:
        forms.add_refusal(form, refused)
        return _refuse_new(request, form)
    if _wants_json(request):
        answer = {
            "id": dataset.pk,
            "name": dataset.name,
            "files_url": reverse("dataset-files", args=[dataset.pk]),
        }
        return JsonResponse(answer, status=201)
    if request.FILES:
        return _add_plainly(request, dataset)
    return redirect("dataset", dataset.pk)


@require_GET
def show(request: PageRequest, dataset_id: str) -> HttpResponse:
    """Show a data set's pictures and the place to drop more."""
    dataset = access.dataset(request.user, dataset_id)
    page = paging.read(
        dataset.images.order_by("-created_at", "-id"), request, size=pictures.PICTURES_PER_PAGE
    )
    context = {
        "dataset": dataset,
        "page": page,
        "images_count": dataset.images.count(),
        "rejected": [] if request.htmx else request.session.pop(_SESSION_KEY, []),
    }
    template = "datasets/_pictures.html" if request.htmx else "datasets/show.html"
    return render(request, template, context)


@require_POST
@client_only
def add(request: PageRequest, dataset_id: str) -> HttpResponse:
    """Add files; upload.js gets JSON, a plain form is sent back to the page."""
    dataset = access.dataset(request.user, dataset_id)
    if not _wants_json(request):
        return _add_plainly(request, dataset)
    try:
        intake = _add(request.FILES, dataset)
    except Refused as refused:
        return JsonResponse({"detail": refused.detail}, status=refused.status)
    rejected = [{"name": each.name, "detail": each.detail} for each in intake.rejected]
    return JsonResponse({"added": len(intake.added), "rejected": rejected}, status=201)


@require_GET
def image(request: PageRequest, image_id: str) -> HttpResponseBase:
    """Send a picture of one of the user's data sets."""
    found = access.image(request.user, image_id)
    return files.picture_response(request, found.blob, pictures.side(request))


def _add_plainly(request: PageRequest, dataset: Dataset) -> HttpResponse:
    try:
        intake = _add(request.FILES, dataset)
    except Refused as refused:
        messages.error(request, refused.detail)
        return redirect("dataset", dataset.pk)
    request.session[_SESSION_KEY] = [
        {"name": each.name, "detail": each.detail} for each in intake.rejected[:REJECTIONS_SHOWN]
    ]
    if intake.added:
        messages.success(request, f"Pictures added: {len(intake.added)}.")
    if request.POST.get("next") == "job-new" and not intake.rejected:
        return redirect(f"{reverse('job-new')}?dataset={dataset.pk}")
    return redirect("dataset", dataset.pk)


def _add(uploaded: MultiValueDict[str, UploadedFile[bytes]], dataset: Dataset) -> datasets.Intake:
    uploads = [
        datasets.Upload(name=each.name or "unnamed", file=each)
        for each in uploaded.getlist("files")
    ]
    return datasets.add_files(dataset_id=dataset.pk, files=uploads, now=timezone.now())


def _refuse_new(request: PageRequest, form: forms.DatasetForm) -> HttpResponse:
    if _wants_json(request):
        details = [str(error) for errors in form.errors.values() for error in errors]
        return JsonResponse({"detail": " ".join(details)}, status=422)
    return render(request, "datasets/new.html", {"form": form}, status=422)


def _wants_json(request: PageRequest) -> bool:
    return request.headers.get("Accept") == "application/json"
