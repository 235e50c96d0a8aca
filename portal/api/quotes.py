"""`quotes/`: what a job would cost. The body of a job is read here, for `jobs/` too."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields
from portal.api.authentication import signed_in
from tasks import jobs, requests
from tasks.errors import Refused

ID_LENGTH_MAX = 40
URL_LENGTH_MAX = 2000
SCORE_THRESHOLD_DEFAULT = 0.3


class NotOfferedYet(Refused):
    """A part of the contract whose feature is not there yet; never ignored in silence."""

    code, status = "not_offered_yet", 422

    def __init__(self, *, field: str) -> None:
        super().__init__(f"{field!r} cannot be used yet; leave it out.")
        self.field = field  # type: ignore[misc]  # narrower than the class's default


class DatasetNotFound(Refused):
    """There is no such data set, or it is not the caller's."""

    code, status, field = "not_found", 404, "dataset"


class JobInput(fields.Input):
    """What a client asks for."""

    class Review(fields.Input):
        """Which pictures people look at, and for how much."""

        below = fields.Number(min_value=0, max_value=1)
        above = fields.Number(min_value=0, max_value=1)
        budget = fields.AmountIn()

    kind = fields.Choice(choices=["detect", "classify", "train", "label"])
    dataset = fields.Text(max_length=ID_LENGTH_MAX)
    model = fields.Text(max_length=ID_LENGTH_MAX)
    target_error = fields.Choice(choices=list(requests.TARGET_ERRORS), default="1e-3")
    score_threshold = fields.Number(
        min_value=requests.SCORE_THRESHOLD_MIN, max_value=1, default=SCORE_THRESHOLD_DEFAULT
    )
    mode = fields.Choice(choices=["normal", "race"], default="normal")
    review = Review(required=False, allow_null=True)
    max_price = fields.AmountIn(
        required=False, allow_null=True, help_text="Refuse to cost more; without it, the quote."
    )
    webhook = fields.Text(max_length=URL_LENGTH_MAX, required=False, allow_null=True)
    metadata = fields.Notes(required=False, help_text="Yours; given back with the job.")


class Quotes(base.Endpoint):
    """Prices on request."""

    scope = "jobs"
    role = "client"

    class Output(serializers.Serializer[Any]):
        """What the job costs and how long it may take, as things stand."""

        class Eta(serializers.Serializer[Any]):
            p50 = serializers.IntegerField(source="eta_p50_seconds")
            p90 = serializers.IntegerField(source="eta_p90_seconds")

        class Line(serializers.Serializer[Any]):
            label = serializers.CharField()  # type: ignore[assignment]  # DRF takes fields off the class
            quantity = serializers.IntegerField()
            unit_price = fields.AmountOut(source="unit_minor")
            amount = fields.AmountOut(source="amount_minor")

        price = fields.AmountOut(
            source="price_minor", help_text="The most it costs: held, and the sum of `lines`."
        )
        expected = fields.AmountOut(
            source="expected_minor",
            help_text="What will likely be spent of it, as the fleet is now; the rest returns.",
        )
        asset = fields.Asset()
        images = serializers.IntegerField()
        chunks = serializers.IntegerField()
        replicas_planned = serializers.IntegerField(help_text="The most that are paid for.")
        replicas_expected = serializers.IntegerField()
        believed_share = serializers.FloatField(
            help_text="Share of the nodes it may go to whose answer needs no second one, 0..1."
        )
        eta_seconds = Eta(source="*")
        lines = Line(many=True)

    @extend_schema(operation_id="quotes_create", request=JobInput, responses=Output)
    def post(self, request: Request) -> Response:
        """Price a job without buying it."""
        user = signed_in(request)
        quote = jobs.quote(
            owner_id=user.pk,
            request=read_job(request),
            now=timezone.now(),
            client_category=user.client_category,
        )
        return Response(self.Output(quote).data)


def read_job(request: Request) -> requests.JobRequest:
    """Return what the body asks for.

    Raises:
        ValidationError: the body has not the shape of a job.
        DatasetNotFound: the data set is not the caller's.
        NotOfferedYet: it uses `review` or `webhook`.
    """
    body = base.read(JobInput, request)
    for name in ("review", "webhook"):
        if body.get(name) is not None:
            raise NotOfferedYet(field=name)
    try:
        access.dataset(signed_in(request), body["dataset"])
    except access.NotFound as error:
        raise DatasetNotFound("There is no such data set.") from error
    return requests.JobRequest(
        kind=body["kind"],
        dataset_id=body["dataset"],
        model_id=body["model"],
        target_error=body["target_error"],
        score_threshold=body["score_threshold"],
        mode=body["mode"],
        max_price_minor=body.get("max_price"),
        metadata=body.get("metadata", {}),
    )
