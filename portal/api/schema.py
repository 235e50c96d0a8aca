"""How the OpenAPI document is derived from the endpoints."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from portal.api import fields, idempotency, problems
from portal.api.authentication import KeyAuthentication, ScrapeTokenAuthentication


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base
    """Documents API keys."""

    target_class = KeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, nf_..."}


class ScrapeTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base
    """Documents the token of a monitoring system."""

    target_class = ScrapeTokenAuthentication
    name = "scrapeToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "NODEFOLK_METRICS_TOKEN"}


class ProblemOutput(serializers.Serializer[Any]):
    """A refusal (RFC 9457)."""

    class FieldError(serializers.Serializer[Any]):
        field = serializers.CharField(allow_null=True)
        code = serializers.CharField()
        detail = serializers.CharField()

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors = FieldError(many=True)  # type: ignore[assignment]  # DRF takes fields off the class


class ProblemAutoSchema(AutoSchema):
    """Names shapes after their views, closes bodies to unknown fields, adds the problem."""

    def get_serializer_name(self, serializer: Any, direction: str) -> str:
        return str(type(serializer).__qualname__.replace(".", ""))

    def get_summary(self) -> str:
        """Return the first sentence of the method's docstring, for lists of calls."""
        return str(self.get_description()).partition("\n")[0].partition(". ")[0].rstrip(".")

    def get_override_parameters(self) -> list[Any]:
        handler = getattr(self.view, self.method.lower(), None)
        return [PARAMETER] if getattr(handler, idempotency.MARK, False) else []

    def _map_serializer_field(self, field: Any, *args: Any, **kwargs: Any) -> Any:
        shape = super()._map_serializer_field(field, *args, **kwargs)  # type: ignore[no-untyped-call]
        # Spaces around are cut off, so something else has to be there.
        if isinstance(field, fields.Text):
            shape |= {"minLength": 1, "pattern": r"\S"}
        return shape

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        shape = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, fields.Input):
            shape["additionalProperties"] = False
        return shape

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        bodies["default"] = self._get_response_for_code(  # type: ignore[no-untyped-call]
            ProblemOutput, "default", [problems.MEDIA_TYPE], direction
        )
        bodies["default"]["description"] = "Refused; `code` says why."
        return bodies


PARAMETER = OpenApiParameter(
    idempotency.HEADER,
    {"type": "string", "pattern": "^[!-~]{1,200}$"},
    OpenApiParameter.HEADER,
    description="The same key with the same body answers the first answer again, for 24 h.",
)
