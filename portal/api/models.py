"""`models/`: the catalog."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, pagination
from portal.api.authentication import signed_in


class ModelOutput(serializers.Serializer[Any]):
    """A model that jobs can ask for."""

    id = serializers.CharField()
    kind = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField()
    digest = serializers.CharField(source="blob_id", help_text="SHA-256 of the ONNX file.")
    size_bytes = serializers.IntegerField(source="blob.size_bytes")
    labels = serializers.DictField(
        child=serializers.CharField(), help_text="Class id as text to label."
    )
    licence = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # DRF takes fields off the class
    image_ms = serializers.IntegerField(help_text="Milliseconds one image takes on one thread.")
    created_at = serializers.DateTimeField()


class ModelDetailOutput(ModelOutput):
    """A model with its tensor contract."""

    tensor_contract = serializers.DictField(
        help_text="Names, shapes and dtypes of inputs and outputs, and the pre-processing."
    )


class Models(base.Endpoint):
    """The catalog."""

    @pagination.listing("models_list", ModelOutput)
    def get(self, request: Request) -> Response:
        """List the models on offer, newest first."""
        rows = access.models(signed_in(request))
        page = pagination.paginate(request, rows, order=("created_at", "pk"))
        return Response(page.answer(ModelOutput(page.rows, many=True).data))


class OneModel(base.Endpoint):
    """One model of the catalog."""

    @extend_schema(operation_id="models_get", responses=ModelDetailOutput)
    def get(self, request: Request, model_id: str) -> Response:
        """Show one model."""
        model = access.model(signed_in(request), model_id)
        return Response(ModelDetailOutput(model).data)
