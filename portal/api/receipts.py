"""`jobs/{id}/receipt/`: who computed what, which checks were made, signed."""

from __future__ import annotations

from typing import Any

from django.http import JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from portal import access
from portal.api import base, fields, limits
from portal.api.authentication import signed_in
from tasks import receipts

_CHUNK = OpenApiParameter(
    "chunk", int, OpenApiParameter.QUERY, description="Only this chunk, with its Merkle path."
)


class JobReceipt(base.Endpoint):
    """The receipt of one job."""

    scope = "jobs"

    class Query(fields.Query):
        chunk = serializers.IntegerField(
            required=False, min_value=0, max_value=limits.CHUNK_INDEX_MAX
        )

    class Output(serializers.Serializer[Any]):
        """Checked by `nodefolk-verify`; howto/verify-a-receipt.md tells each field."""

        leaves = serializers.ListField(child=serializers.DictField())
        place = serializers.IntegerField(required=False)
        path = serializers.ListField(child=serializers.CharField(), required=False)
        receipt = serializers.DictField()
        signature = serializers.CharField()

    @extend_schema(operation_id="jobs_receipt", parameters=[_CHUNK], responses=Output)
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """Download the signed receipt as things stand, or that of one chunk."""
        job = access.job(signed_in(request), job_id)
        index = base.read_query(self.Query, request).get("chunk")
        now = timezone.now()
        if index is not None:
            return JsonResponse(receipts.of_chunk(job_id=job.pk, index=index, now=now))
        return StreamingHttpResponse(
            receipts.write(job_id=job.pk, now=now),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{job.pk}.receipt.json"'},
        )
