"""`jobs/{id}/results/`: what was found, streamed as a file."""

from __future__ import annotations

from types import MappingProxyType

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from portal import access
from portal.api import base, fields
from portal.api.authentication import signed_in
from tasks import results

#: Format -> media type and file extension.
FORMATS = MappingProxyType(
    {
        "jsonl": ("application/x-ndjson", "jsonl"),
        "coco": ("application/json", "json"),
        "csv": ("text/csv", "csv"),
    }
)
_FORMAT = OpenApiParameter(
    "format", str, OpenApiParameter.QUERY, enum=list(FORMATS), default="jsonl"
)


class JobResults(base.Endpoint):
    """The results of one job."""

    scope = "jobs"
    content_negotiation_class = base.AnyAccept

    class Query(fields.Query):
        format = serializers.ChoiceField(list(FORMATS), default="jsonl")

    @extend_schema(
        operation_id="jobs_results",
        parameters=[_FORMAT],
        responses={(200, media_type): OpenApiTypes.STR for media_type, _ in FORMATS.values()},
    )
    def get(self, request: Request, job_id: str) -> StreamingHttpResponse:
        """Download what is decided so far; boxes are [x, y, width, height] in pixels."""
        job = access.job(signed_in(request), job_id)
        name = base.read_query(self.Query, request)["format"]
        media_type, extension = FORMATS[name]
        return StreamingHttpResponse(
            results.export(job_id=job.pk, format_name=name),
            content_type=f"{media_type}; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{job.pk}.{extension}"'},
        )
