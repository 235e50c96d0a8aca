"""`schema/` and `docs/`: the OpenAPI document, and a page to try it."""

from __future__ import annotations

from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from portal.api.base import OpenEndpoint
from portal.api.throttling import AnonymousRate, UserRate


class Schema(SpectacularAPIView):
    """The OpenAPI document, as YAML or, by `Accept`, as JSON."""

    throttle_classes = [UserRate, AnonymousRate]


# Swagger UI writes style attributes; scripts stay our own, without any inline one.
@method_decorator(csp_update({"style-src": ["'unsafe-inline'"]}), name="dispatch")
class Docs(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files."""

    url_name = "api-schema"
    throttle_classes = [UserRate, AnonymousRate]


@extend_schema(exclude=True)
class Unknown(OpenEndpoint):
    """Any other address below `/api/v1/`: a problem, also while DEBUG shows pages of its own."""

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound("There is no such address; those of the API end with a slash.")
