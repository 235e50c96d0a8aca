"""`operations/`: the state of the platform, for staff."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base
from portal.api.authentication import signed_in
from tasks.models import Job
from tasks.operations import overview


class PlatformOutput(serializers.Serializer[Any]):
    """The platform as a whole."""

    drained_at = serializers.DateTimeField(
        allow_null=True, help_text="Since when no new work is given out."
    )
    drain_note = serializers.CharField()
    swept_at = serializers.DateTimeField(allow_null=True, help_text="When the last sweep ended.")
    swept = serializers.DictField(
        child=serializers.IntegerField(), help_text="What it found, by step."
    )


class QueuesOutput(serializers.Serializer[Any]):
    """The broker's queues; null is what the source does not know."""

    class Queue(serializers.Serializer[Any]):
        name = serializers.CharField()
        ready = serializers.IntegerField()
        unacknowledged = serializers.IntegerField(allow_null=True)
        consumers = serializers.IntegerField(allow_null=True)
        oldest_at = serializers.DateTimeField(allow_null=True)

    source = serializers.ChoiceField(  # type: ignore[assignment]  # DRF takes fields off the class
        ["management", "connection", "embedded", "none"],
        help_text="Who said it; `none`: the broker is away.",
    )
    queues = Queue(many=True)


class OperationsOutput(serializers.Serializer[Any]):
    """Everything staff see at one look; counts stop at 100,000."""

    class Jobs(serializers.Serializer[Any]):
        state = serializers.ChoiceField([Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED])
        count = serializers.IntegerField()
        oldest_open_at = serializers.DateTimeField(
            allow_null=True, help_text="Submission of the oldest with an undecided chunk."
        )
        oldest_undecided_at = serializers.DateTimeField(
            allow_null=True, help_text="Arrival of the oldest answer nothing was decided about."
        )

    class Work(serializers.Serializer[Any]):
        chunks_open = serializers.IntegerField()
        replicas_leased = serializers.IntegerField()
        replicas_undecided = serializers.IntegerField()
        chunks_checking = serializers.IntegerField()
        chunks_stirred = serializers.IntegerField()

    class Gates(serializers.Serializer[Any]):
        chunks = serializers.IntegerField(help_text="Ready chunks looked at.")
        nodes = serializers.IntegerField(help_text="Nodes with a free slot looked at.")
        grants = serializers.IntegerField(help_text="Assignments that would go out now.")
        by_gate = serializers.DictField(
            child=serializers.IntegerField(), help_text="How often each gate refused."
        )

    class Trust(serializers.Serializer[Any]):
        model = serializers.CharField(source="model_id")
        model_name = serializers.CharField()
        states = serializers.DictField(child=serializers.IntegerField())

    class Referee(serializers.Serializer[Any]):
        budget_images = serializers.IntegerField(help_text="In an hour.")
        spent_images = serializers.IntegerField(help_text="In the last hour.")
        backlog_chunks = serializers.IntegerField()
        backlog_images = serializers.IntegerField()
        oldest_asked_at = serializers.DateTimeField(allow_null=True)

    class Gold(serializers.Serializer[Any]):
        model = serializers.CharField(source="model_id")
        model_name = serializers.CharField()
        unused = serializers.IntegerField()
        in_use = serializers.IntegerField()
        wanted = serializers.IntegerField()

    class Todo(serializers.Serializer[Any]):
        strikes_waiting = serializers.IntegerField()
        appeals_referee = serializers.IntegerField()
        appeals_staff = serializers.IntegerField()
        nodes_broker_behind = serializers.IntegerField()

    taken_at = serializers.DateTimeField()
    platform = PlatformOutput()
    broker = QueuesOutput(source="queues")
    jobs = Jobs(many=True)
    work = Work()
    gates = Gates()
    nodes = serializers.DictField(child=serializers.IntegerField(), help_text="By state.")
    trust = Trust(many=True)
    referee = Referee()
    gold = Gold(many=True)
    todo = Todo()


class Operations(base.Endpoint):
    """The state of the platform."""

    scope = "read"

    @extend_schema(operation_id="operations_get", responses=OperationsOutput)
    def get(self, request: Request) -> Response:
        """Show queues, work, gates, nodes, trust and checks. Staff alone; others get 404."""
        access.operations(signed_in(request))
        return Response(OperationsOutput(overview.take(now=timezone.now())).data)
