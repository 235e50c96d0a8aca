"""`metrics`: the platform's figures for Prometheus."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from portal import access, metrics
from portal.api import base
from portal.api.authentication import (
    SCRAPE_TOKEN,
    KeyAuthentication,
    ScrapeTokenAuthentication,
    signed_in,
)
from tasks.operations import figures


class Metrics(base.Endpoint):
    """The platform in figures."""

    scope = "read"
    authentication_classes = [
        ScrapeTokenAuthentication,
        KeyAuthentication,
        SessionAuthentication,
    ]
    content_negotiation_class = base.AnyAccept

    @extend_schema(operation_id="metrics", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """Show the platform's gauges in Prometheus' text format.

        For the scrape token (`NODEFOLK_METRICS_TOKEN`), and for staff; others get 404.
        """
        if request.auth != SCRAPE_TOKEN:
            access.operations(signed_in(request))
        taken = figures.take(now=timezone.now())
        return HttpResponse(metrics.exposition(taken), content_type=metrics.MEDIA_TYPE)
