"""Models: the catalog, one model with its check, and bringing your own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from portal import access
from portal.web import forms
from portal.web.doors import client_only
from portal.web.requests import PageRequest
from tasks import fleet, uploads
from tasks.errors import Refused

#: Complete manifests to start from, one for each decoder.
EXAMPLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Classifier of logits": {
            "name": "My classifier",
            "kind": "classify",
            "labels": {"0": "cat", "1": "dog"},
            "input": {
                "name": "input",
                "layout": "NCHW",
                "dtype": "float32",
                "width": 224,
                "height": 224,
                "resize": "crop",
                "crop_fraction": 0.875,
                "scale": 0.00392156862745098,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            "output": {"decoder": "classify", "output": "output", "values": "logits"},
        },
        "YOLO, raw rows": {
            "name": "My YOLO",
            "kind": "detect",
            "labels": {"0": "person", "1": "bicycle"},
            "input": {
                "name": "images",
                "layout": "NCHW",
                "dtype": "float32",
                "width": 640,
                "height": 640,
                "resize": "letterbox",
                "scale": 0.00392156862745098,
            },
            "output": {"decoder": "yolo", "output": "output0", "iou_max": 0.45},
        },
        "DETR, queries": {
            "name": "My DETR",
            "kind": "detect",
            "labels": {"1": "person", "2": "bicycle"},
            "input": {
                "name": "pixel_values",
                "layout": "NCHW",
                "dtype": "float32",
                "width": 800,
                "height": 800,
                "resize": "stretch",
                "scale": 0.00392156862745098,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            "output": {"decoder": "detr", "logits": "logits", "boxes": "pred_boxes"},
        },
        "SSD, boxes and scores": {
            "name": "My SSD",
            "kind": "detect",
            "labels": {"1": "person"},
            "input": {"name": "image", "layout": "NHWC", "dtype": "uint8"},
            "output": {
                "decoder": "ssd",
                "boxes": "boxes",
                "scores": "scores",
                "classes": "classes",
            },
        },
    }
)


@require_GET
def index(request: PageRequest) -> HttpResponse:
    """List the models the user may use: their own first, then by name."""
    rows = access.models(request.user).order_by("name", "-created_at", "pk")
    models = sorted(rows, key=lambda model: model.owner_id is None)
    return render(request, "models/index.html", {"models": models})


@require_GET
def show(request: PageRequest, model_id: str) -> HttpResponse:
    """Show a model: whose, how it is used, what its check found, how fast it is where."""
    model = access.model(request.user, model_id)
    context = {
        "model": model,
        "contract": json.dumps(model.tensor_contract, indent=2),
        "speeds": fleet.speeds(model_id=model.pk),
        "labels": sorted(model.labels.items(), key=lambda pair: int(pair[0])),
    }
    return render(request, "models/show.html", context)


@require_http_methods(["GET", "POST"])
@client_only
def new(request: PageRequest) -> HttpResponse:
    """Take a model and its manifest, or say why not."""
    if request.method == "GET":
        return _page(request, forms.ModelForm(), status=200)
    form = forms.ModelForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        model = uploads.upload(
            owner_id=request.user.pk,
            data=form.cleaned_data["file"].read(),
            manifest_text=form.cleaned_data["manifest"],
            now=timezone.now(),
        )
    except Refused as refused:
        forms.add_refusal(form, refused)
        return _page(request, form, status=refused.status)
    return redirect("model", model.pk)


def _page(request: PageRequest, form: forms.ModelForm, *, status: int) -> HttpResponse:
    examples = {name: json.dumps(dict(each), indent=2) for name, each in EXAMPLES.items()}
    return render(request, "models/new.html", {"form": form, "examples": examples}, status=status)
