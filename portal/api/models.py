"""`models/`: the catalog, and a client's own model."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields, idempotency, pagination
from portal.api.authentication import signed_in
from portal.api.parsers import TooLarge
from tasks import uploads
from tasks.models import CatalogModel
from workers.protocol import limits

#: The model, its manifest, and what multipart adds.
UPLOAD_BYTES_MAX = limits.MODEL_BYTES_MAX + 4 * limits.MIB


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
    owner = serializers.SerializerMethodField(help_text="`nodefolk`, or `you`.")
    visibility = serializers.ChoiceField(
        CatalogModel.Visibility.choices, help_text="Who may use it: everyone, or its owner alone."
    )
    image_ms = serializers.IntegerField(help_text="Milliseconds one image takes on one thread.")
    created_at = serializers.DateTimeField()

    def get_owner(self, model: CatalogModel) -> str:
        return "nodefolk" if model.owner_id is None else "you"


class ModelDetailOutput(ModelOutput):
    """A model with its contract and what its check found."""

    tensor_contract = serializers.DictField(
        help_text="How pictures go in and answers come out; the same words as the manifest's."
    )
    check_report = serializers.DictField(
        help_text="Counts, bytes and milliseconds of the check; empty for built-in models."
    )


@extend_schema_field(OpenApiTypes.BINARY)
class ModelFile(serializers.FileField):
    """The bytes of a model."""


@extend_schema_field({"type": "string", "minLength": 2})
class ManifestText(serializers.CharField):
    """JSON as text."""


class Models(base.Endpoint):
    """The catalog."""

    scope_to_change = "jobs"
    role = "client"
    parser_classes = [MultiPartParser]

    class Input(fields.Input):
        """A model and what its owner says of it."""

        file = ModelFile(help_text="An ONNX model of at most 512 MiB.")
        manifest = ManifestText(help_text="JSON: name, kind, labels, input, output; see the guide.")

    @pagination.listing("models_list", ModelOutput)
    def get(self, request: Request) -> Response:
        """List the models on offer to the caller, newest first."""
        rows = access.models(signed_in(request))
        page = pagination.paginate(request, rows, order=("created_at", "pk"))
        return Response(page.answer(ModelOutput(page.rows, many=True).data))

    @extend_schema(
        operation_id="models_upload",
        request={"multipart/form-data": Input},
        responses={201: ModelDetailOutput},
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Add a model of your own: it is checked and tried at once, and private to you."""
        size_bytes = int(request.META.get("CONTENT_LENGTH") or 0)
        if size_bytes > UPLOAD_BYTES_MAX:
            raise TooLarge(f"A model has at most {limits.MODEL_BYTES_MAX} bytes.")
        return self._take(request)

    @idempotency.once
    def _take(self, request: Request) -> Response:
        data, manifest = _parts(request)
        model = uploads.upload(
            owner_id=signed_in(request).pk,
            data=data,
            manifest_text=manifest,
            now=timezone.now(),
        )
        return Response(ModelDetailOutput(model).data, status=status.HTTP_201_CREATED)


class OneModel(base.Endpoint):
    """One model of the catalog."""

    @extend_schema(operation_id="models_get", responses=ModelDetailOutput)
    def get(self, request: Request, model_id: str) -> Response:
        """Show one model."""
        model = access.model(signed_in(request), model_id)
        return Response(ModelDetailOutput(model).data)


def _parts(request: Request) -> tuple[bytes, bytes]:
    """Return the model's bytes and the manifest's text; either may come as file or as text.

    Raises:
        ValidationError: a part is missing or not known.
    """
    form = dict(request.data.items()) if hasattr(request.data, "items") else {}
    errors = {name: ["There is no such field."] for name in form if name not in _PARTS}
    if errors:
        raise serializers.ValidationError(errors, code="unknown_field")
    missing = {name: ["This field is required."] for name in _PARTS if name not in form}
    if missing:
        raise serializers.ValidationError(missing, code="required")
    return _content(form["file"]), _content(form["manifest"])


def _content(part: UploadedFile[bytes] | str) -> bytes:
    return part.encode() if isinstance(part, str) else part.read()


_PARTS = ("file", "manifest")
