"""One piece of a node's work, with the pictures as that node answered them."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from portal import access, files
from portal.web import drawing, pictures
from portal.web.requests import PageRequest
from tasks import queries
from tasks.models import Item


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A picture and the node's boxes on it."""

    image: queries.ImageRef
    boxes: list[drawing.Box]
    text_size: float


@require_GET
def show(request: PageRequest, replica_id: str) -> HttpResponse:
    """Show what the node answered and what it earned for that."""
    replica = access.replica(request.user, replica_id)
    (view,) = queries.replica_views([replica])
    answers = [
        Answer(
            image=image,
            boxes=drawing.boxes(image.detections, width=image.width, height=image.height),
            text_size=drawing.text_size(image.width, image.height),
        )
        for image in view.images
    ]
    context = {"node": replica.node, "replica": view, "answers": answers}
    return render(request, "nodes/work.html", context)


@require_GET
def image(request: PageRequest, replica_id: str, item_id: str) -> HttpResponseBase:
    """Send a picture of a chunk that the user's own node was given, never another."""
    replica = access.replica(request.user, replica_id)
    items = Item.objects.filter(chunk=replica.chunk).select_related("image__blob")
    number = int(item_id) if item_id.isascii() and item_id.isdigit() and len(item_id) < 19 else 0
    item = get_object_or_404(items, pk=number)
    return files.picture_response(request, item.image.blob, pictures.side(request))
