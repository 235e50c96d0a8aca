"""Blobs over HTTP: by signed link for nodes, by right for their owners."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.core.files.base import File
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from portal.api import problems
from tasks import blobs
from tasks.models import Blob

#: A digest's bytes never change; only the right to see them may end.
SIGNED_CACHING = "private, immutable"
#: Pages ask again after an hour and are told that nothing changed.
PICTURE_CACHING = "private, max-age=3600"
#: Up to this size bytes are sent in one piece.
WHOLE_BYTES_MAX = 1024 * 1024


class BlobResponse(FileResponse):
    """Sends in larger pieces: a model of 34 MB would be 8,300 of Django's."""

    block_size = 256 * 1024


@login_not_required
@require_safe
def signed_blob(request: HttpRequest, digest: str) -> HttpResponseBase:
    """Send a blob to whoever brings a good link; nothing is said of what exists otherwise.

    No query: we signed the link for bytes that were there, and bytes never change.
    """
    try:
        blobs.check_url(digest, request.GET, now=timezone.now())
        stream = blobs.open_stream(digest)
    except (blobs.UrlAltered, blobs.UrlExpired) as refused:
        return problems.ProblemResponse(
            problems.Problem(status=refused.status, code=refused.code, detail=refused.detail)
        )
    except FileNotFoundError:
        return problems.ProblemResponse(problems.NOT_FOUND)
    response = _stream(request, stream)
    response["Content-Type"] = "application/octet-stream"
    response["Cache-Control"] = SIGNED_CACHING
    response["Content-Disposition"] = f'attachment; filename="{digest}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _stream(request: HttpRequest, stream: File[bytes]) -> HttpResponseBase:
    """Send what is in a file, a small one in one piece; its length is known before."""
    if request.method == "GET" and stream.size > WHOLE_BYTES_MAX:
        response: HttpResponseBase = BlobResponse(stream)
    else:
        with stream:
            response = HttpResponse(stream.read() if request.method == "GET" else b"")
    # Object stores give streams without a length, and nodes compare it first.
    response["Content-Length"] = str(stream.size)
    return response


def picture_response(request: HttpRequest, blob: Blob, side: int | None) -> HttpResponseBase:
    """Send a picture that the caller may see: whole, or with its longer side at most `side`.

    Answers 304 when the browser has it. The caller has fetched `blob` through
    `portal.access`.

    Raises:
        ValueError: `side` is none of `blobs.THUMBNAIL_SIDES`.
    """
    etag = f'"{blob.digest}"' if side is None else f'"{blob.digest}-{side}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        response = _whole(request, blob) if side is None else _small(blob, side)
    response["ETag"] = etag
    response["Cache-Control"] = PICTURE_CACHING
    return response


def _whole(request: HttpRequest, blob: Blob) -> HttpResponseBase:
    if request.method == "HEAD":
        response: HttpResponseBase = HttpResponse(content_type=blob.media_type)
    else:
        response = BlobResponse(blobs.open_stream(blob.digest), content_type=blob.media_type)
    # Object stores give streams without a length, and nodes compare it first.
    response["Content-Length"] = str(blob.size_bytes)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _small(blob: Blob, side: int) -> HttpResponse:
    response = HttpResponse(
        blobs.thumbnail(blob.digest, side=side), content_type=blobs.THUMBNAIL_MEDIA_TYPE
    )
    response["X-Content-Type-Options"] = "nosniff"
    return response
