"""Pictures of a job with their boxes, for the client who sent them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from portal import access, files
from portal.web import drawing, paging
from portal.web.requests import PageRequest
from tasks import blobs
from tasks.models import Item, Job

DECIDED = (Item.State.PROVISIONAL, Item.State.FINAL, Item.State.FAILED)
PICTURES_PER_PAGE = 48


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A picture of a gallery."""

    item: Item
    boxes: list[drawing.Box]

    @property
    def label(self) -> str:
        """What a classifier says of it; empty when it is not sure of anything."""
        return self.item.classes[0]["label"] if self.item.classes else ""


@require_GET
def index(request: PageRequest, job_id: str) -> HttpResponse:
    """Show all pictures of a job that have a result, newest first."""
    job = access.job(request.user, job_id)
    page = paging.read(_decided(job), request, size=PICTURES_PER_PAGE)
    context = {
        "job": job,
        "page": page,
        "tiles": _tiles(page.rows),
        "score_threshold": job.score_threshold,
    }
    return render(request, "jobs/pictures.html", context)


@require_GET
def show(request: PageRequest, job_id: str, item_id: str) -> HttpResponse:
    """Show one picture large, its boxes named and listed."""
    item = access.item(request.user, job_id, item_id)
    size = {"width": item.image.width, "height": item.image.height}
    neighbours = Item.objects.filter(job_id=item.job_id)
    context = {
        "item": item,
        "job": item.job,
        "boxes": drawing.boxes(item.detections or [], **size),
        "text_size": drawing.text_size(**size),
        "earlier": neighbours.filter(pk__lt=item.pk).order_by("-pk").first(),
        "later": neighbours.filter(pk__gt=item.pk).order_by("pk").first(),
        "score_threshold": item.job.score_threshold,
    }
    return render(request, "jobs/picture.html", context)


@require_GET
def image(request: PageRequest, job_id: str, item_id: str) -> HttpResponseBase:
    """Send the picture's bytes, made smaller by `?side=`."""
    item = access.item(request.user, job_id, item_id)
    return files.picture_response(request, item.image.blob, side(request))


def newest(job: Job, *, limit: int) -> list[Tile]:
    """Return the pictures decided last. One query."""
    return _tiles(_decided(job)[:limit])


def side(request: PageRequest) -> int | None:
    """Return the longer side asked for, or None (the original) when it is not on offer."""
    text = request.GET.get("side", "")
    return int(text) if text in {str(known) for known in blobs.THUMBNAIL_SIDES} else None


def _decided(job: Job) -> QuerySet[Item]:
    rows = job.items.filter(state__in=DECIDED).select_related("image")
    return rows.order_by("-decided_at", "-id")


def _tiles(items: Iterable[Item]) -> list[Tile]:
    return [
        Tile(
            item=item,
            boxes=drawing.boxes(
                item.detections or [], width=item.image.width, height=item.image.height
            ),
        )
        for item in items
    ]
