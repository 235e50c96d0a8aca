"""`jobs/`: bought, watched and steered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields, idempotency, limits, pagination, quotes
from portal.api.authentication import signed_in
from tasks import jobs, queries
from tasks.models import Job
from tasks.reasons import EventCode


class Progress(serializers.Serializer[Any]):
    """Pictures of the job by how far they are."""

    items = serializers.IntegerField(source="items_total")
    provisional = serializers.IntegerField(source="items_provisional")
    final = serializers.IntegerField(source="items_final")
    failed = serializers.IntegerField(source="items_failed")


class JobOutput(serializers.Serializer[Any]):
    """A job. Times in milliseconds count from its submission."""

    class Acks(serializers.Serializer[Any]):
        count = serializers.IntegerField(source="acks_count")
        slowest_ms = serializers.IntegerField(source="slowest_ack_ms", allow_null=True)

    class Timing(serializers.Serializer[Any]):
        submitted_at = serializers.DateTimeField()
        first_ack_ms = serializers.IntegerField(allow_null=True)
        first_result_ms = serializers.IntegerField(allow_null=True)
        finished_at = serializers.DateTimeField(allow_null=True)
        settles_at = serializers.DateTimeField(
            allow_null=True, help_text="When its last provisional result becomes final."
        )

    class Checks(serializers.Serializer[Any]):
        gold = serializers.IntegerField()
        audits = serializers.IntegerField()
        referee = serializers.IntegerField()
        disagreements = serializers.IntegerField()

    id = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(Job.State.choices)
    reason = serializers.CharField(help_text="Why it waits; empty when it does not.")
    reason_text = serializers.CharField()
    dataset = serializers.CharField(source="dataset_id")
    model = serializers.CharField(source="model_id")
    target_error = serializers.CharField()
    score_threshold = serializers.FloatField()
    mode = serializers.ChoiceField(Job.Mode.choices)
    client_category = serializers.ChoiceField(
        Job.ClientCategory.choices, help_text="What the account was for when it was bought."
    )
    metadata = serializers.DictField()
    progress = Progress(source="*")
    acks = Acks(source="*")
    timing = Timing(source="*")
    asset = fields.Asset()
    price = fields.AmountOut(source="price_minor")
    spent = fields.AmountOut(source="spent_minor")
    held = fields.AmountOut(source="held_minor")
    replicas = serializers.IntegerField(help_text="Attempts so far, of all nodes.")
    checks = Checks(source="*")


class JobSummaryOutput(serializers.Serializer[Any]):
    """A job in a list: what stands in its own row."""

    id = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(Job.State.choices)
    reason = serializers.CharField()
    dataset = serializers.CharField(source="dataset_id")
    model = serializers.CharField(source="model_id")
    progress = Progress(source="*")
    asset = fields.Asset()
    price = fields.AmountOut(source="price_minor")
    submitted_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class Jobs(base.Endpoint):
    """The caller's jobs."""

    scope = "jobs"
    role = "client"

    @pagination.listing("jobs_list", JobSummaryOutput)
    def get(self, request: Request) -> Response:
        """List my jobs, newest first."""
        rows = access.jobs(signed_in(request))
        page = pagination.paginate(request, rows, order=("submitted_at", "pk"))
        return Response(page.answer(JobSummaryOutput(page.rows, many=True).data))

    @extend_schema(operation_id="jobs_create", request=quotes.JobInput, responses={201: JobOutput})
    @idempotency.once
    def post(self, request: Request) -> Response:
        """Buy a job: its price is held, and it is announced to the nodes at once."""
        job = jobs.submit(
            owner_id=signed_in(request).pk,
            request=quotes.read_job(request),
            now=timezone.now(),
            client_category=signed_in(request).client_category,
        )
        return Response(JobOutput(queries.job_view(job)).data, status=status.HTTP_201_CREATED)


class OneJob(base.Endpoint):
    """One job of the caller."""

    scope = "jobs"

    @extend_schema(operation_id="jobs_get", responses=JobOutput)
    def get(self, request: Request, job_id: str) -> Response:
        """Show one of my jobs."""
        job = access.job(signed_in(request), job_id)
        return Response(JobOutput(queries.job_view(job)).data)


class _Steer(base.Endpoint):
    """A change of state, or 409 `wrong_state` with the state it is in."""

    scope = "jobs"

    def steer(self, request: Request, job_id: str, change: Callable[..., Job]) -> Response:
        base.read(fields.Nothing, request)
        job = access.job(signed_in(request), job_id)
        changed = change(job_id=job.pk, now=timezone.now())
        return Response(JobOutput(queries.job_view(changed)).data)


class PauseJob(_Steer):
    """Pausing."""

    @extend_schema(operation_id="jobs_pause", request=None, responses=JobOutput)
    @idempotency.once
    def post(self, request: Request, job_id: str) -> Response:
        """Give out no more work of the job; what runs is finished and paid."""
        return self.steer(request, job_id, jobs.pause)


class ResumeJob(_Steer):
    """Resuming."""

    @extend_schema(operation_id="jobs_resume", request=None, responses=JobOutput)
    @idempotency.once
    def post(self, request: Request, job_id: str) -> Response:
        """Go on with a paused job."""
        return self.steer(request, job_id, jobs.resume)


class CancelJob(_Steer):
    """Cancelling."""

    @extend_schema(operation_id="jobs_cancel", request=None, responses=JobOutput)
    @idempotency.once
    def post(self, request: Request, job_id: str) -> Response:
        """Stop the job: partial results stay, the rest of the money returns."""
        return self.steer(request, job_id, jobs.cancel)


class JobEvents(base.Endpoint):
    """The story of one job."""

    scope = "jobs"

    class Output(serializers.Serializer[Any]):
        """Something that happened."""

        id = serializers.CharField()
        code = serializers.CharField()
        text = serializers.SerializerMethodField()
        detail = serializers.DictField()
        created_at = serializers.DateTimeField()

        def get_text(self, event: Any) -> str:
            known = event.code in EventCode.values
            return EventCode(event.code).label if known else event.code

    @pagination.listing("jobs_events", Output)
    def get(self, request: Request, job_id: str) -> Response:
        """Tell what happened and why it waits, newest first."""
        job = access.job(signed_in(request), job_id)
        page = pagination.paginate(request, job.events.all())
        return Response(page.answer(self.Output(page.rows, many=True).data))


class JobAcks(base.Endpoint):
    """The nodes' acks of one job."""

    scope = "jobs"

    class Output(serializers.Serializer[Any]):
        """One node's word that it takes part, under an alias of this job."""

        alias = serializers.CharField()
        latency_ms = serializers.IntegerField()
        received_at = serializers.DateTimeField()

    @pagination.listing("jobs_acks", Output)
    def get(self, request: Request, job_id: str) -> Response:
        """List the acks in the order they came, all in one page."""
        job = access.job(signed_in(request), job_id)
        acks = queries.job_acks(job.pk)[: limits.ACKS_MAX]
        results = self.Output(acks, many=True).data
        return Response({"next": None, "previous": None, "results": results})
