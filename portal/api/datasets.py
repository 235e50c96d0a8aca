"""`datasets/`: a client's pictures."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count
from django.http import QueryDict
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields, idempotency, limits, pagination
from portal.api.authentication import signed_in
from portal.api.parsers import TooLarge
from tasks import datasets

NAME_LENGTH_MAX = 200


class DatasetOutput(serializers.Serializer[Any]):
    """A named set of pictures."""

    id = serializers.CharField()
    name = serializers.CharField()
    images = serializers.IntegerField(source="images_count", help_text="How many it holds.")
    created_at = serializers.DateTimeField()


class ImageOutput(serializers.Serializer[Any]):
    """One picture; size in pixels as seen, after EXIF rotation."""

    id = serializers.CharField()
    name = serializers.CharField()
    digest = serializers.CharField(source="blob_id", help_text="SHA-256 of the stored bytes.")
    width = serializers.IntegerField()
    height = serializers.IntegerField()


class Datasets(base.Endpoint):
    """The caller's data sets."""

    scope = "jobs"
    role = "client"

    class Input(fields.Input):
        name = fields.Text(max_length=NAME_LENGTH_MAX)

    @pagination.listing("datasets_list", DatasetOutput)
    def get(self, request: Request) -> Response:
        """List my data sets, newest first."""
        rows = access.datasets(signed_in(request)).annotate(images_count=Count("images"))
        page = pagination.paginate(request, rows, order=("created_at", "pk"))
        return Response(page.answer(DatasetOutput(page.rows, many=True).data))

    @extend_schema(operation_id="datasets_create", request=Input, responses={201: DatasetOutput})
    @idempotency.once
    def post(self, request: Request) -> Response:
        """Make an empty data set."""
        body = base.read(self.Input, request)
        dataset = datasets.create(
            owner_id=signed_in(request).pk, name=body["name"], now=timezone.now()
        )
        shown = _shown(dataset, images_count=0)
        return Response(DatasetOutput(shown).data, status=status.HTTP_201_CREATED)


class OneDataset(base.Endpoint):
    """One data set of the caller."""

    scope = "jobs"

    @extend_schema(operation_id="datasets_get", responses=DatasetOutput)
    def get(self, request: Request, dataset_id: str) -> Response:
        """Show one of my data sets."""
        dataset = access.dataset(signed_in(request), dataset_id)
        return Response(DatasetOutput(_shown(dataset, dataset.images.count())).data)


class DatasetImages(base.Endpoint):
    """The pictures of one data set."""

    scope = "jobs"
    role = "client"
    parser_classes = [MultiPartParser]

    class Input(fields.Input):
        files = serializers.ListField(
            child=serializers.FileField(), help_text="Images, and zips of images."
        )

    class Output(serializers.Serializer[Any]):
        """What was taken and what was not; one bad file never spoils the others."""

        class Rejection(serializers.Serializer[Any]):
            name = serializers.CharField()
            code = serializers.CharField()
            detail = serializers.CharField()

        added = ImageOutput(many=True)
        rejected = Rejection(many=True)

    @pagination.listing("datasets_images_list", ImageOutput)
    def get(self, request: Request, dataset_id: str) -> Response:
        """List the pictures of one of my data sets, newest first."""
        dataset = access.dataset(signed_in(request), dataset_id)
        page = pagination.paginate(request, dataset.images.all(), order=("created_at", "pk"))
        return Response(page.answer(ImageOutput(page.rows, many=True).data))

    @extend_schema(
        operation_id="datasets_images_upload",
        request={"multipart/form-data": Input},
        responses={201: Output},
    )
    def post(self, request: Request, dataset_id: str) -> HttpResponseBase:
        """Add pictures, single or in zips. A picture the set holds already is not doubled."""
        # Before the body is read: a stranger's gigabytes are never spooled.
        dataset = access.dataset(signed_in(request), dataset_id)
        _check_size(request)
        return self._take(request, dataset_id=dataset.pk)

    @idempotency.once
    def _take(self, request: Request, *, dataset_id: str) -> Response:
        intake = datasets.add_files(
            dataset_id=dataset_id, files=_uploads(request), now=timezone.now()
        )
        return Response(self.Output(intake).data, status=status.HTTP_201_CREATED)


def _check_size(request: Request) -> None:
    size_bytes = int(request.META.get("CONTENT_LENGTH") or 0)
    if size_bytes > limits.UPLOAD_BYTES_MAX:
        raise TooLarge(f"One upload has at most {limits.UPLOAD_BYTES_MAX} bytes; send several.")


def _uploads(request: Request) -> list[datasets.Upload]:
    """Return the uploaded files.

    Raises:
        ValidationError: a field that is not `files`, or `files` that are text.
        ParseError: there are none.
    """
    strangers = sorted(set(request.data) - {"files"})
    if strangers:
        raise serializers.ValidationError(
            {name: ["There is no such field."] for name in strangers}, code="unknown_field"
        )
    form = request.data if isinstance(request.data, QueryDict) else QueryDict()
    files: list[Any] = form.getlist("files")
    if not files:
        raise ParseError("Send at least one file in `files`.", code="no_files")
    for file in files:
        if not isinstance(file, UploadedFile):
            raise serializers.ValidationError({"files": ["Text is not a file."]}, code="invalid")
    return [datasets.Upload(name=file.name or "", file=file) for file in files]


def _shown(dataset: Any, images_count: int) -> dict[str, Any]:
    return {
        "id": dataset.pk,
        "name": dataset.name,
        "images_count": images_count,
        "created_at": dataset.created_at,
    }
