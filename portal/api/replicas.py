"""`nodes/{id}/replicas/` and `replicas/`: what a machine did, what was decided, and appeals."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields, idempotency, pagination
from portal.api.authentication import signed_in
from tasks import appeals, queries
from tasks.models import Appeal, Replica


class NearMissOutput(serializers.Serializer[Any]):
    """An answer that differs from the right one in digits only."""

    replica = serializers.CharField(source="replica_id", help_text="The work it was.")
    model = serializers.CharField(source="model_id")
    model_name = serializers.CharField()
    found_at = serializers.DateTimeField()
    is_strike = serializers.BooleanField(
        help_text="It counts, for the node had been nearly right shortly before; else a warning."
    )
    is_paid = serializers.BooleanField()
    checks_lost = serializers.FloatField()
    answers_left = serializers.IntegerField(
        help_text="Answers to be accepted until it makes no later one a strike; 0: forgiven."
    )
    text = serializers.CharField(help_text="The same in words, and what to check.")


class AppealNote(serializers.Serializer[Any]):
    """How far an appeal is."""

    state = serializers.ChoiceField(Appeal.State.choices)
    note = serializers.CharField(help_text="What whoever decided says.")


class ReplicaOutput(serializers.Serializer[Any]):
    """One piece of work: verdict, reward, and when that is released."""

    class Picture(serializers.Serializer[Any]):
        class Detection(serializers.Serializer[Any]):
            label = serializers.CharField()  # type: ignore[assignment]  # DRF takes fields off the class
            score = serializers.FloatField()
            box = serializers.ListField(child=serializers.FloatField())

        id = serializers.CharField()
        name = serializers.CharField(help_text="Its number: file names are the client's.")
        width = serializers.IntegerField()
        height = serializers.IntegerField()
        detections = Detection(many=True, help_text="As this node answered.")

    id = serializers.CharField()
    state = serializers.ChoiceField(Replica.State.choices)
    verdict = serializers.ChoiceField(
        ["waiting", "accepted", "refused", "not_needed", "no_answer"],
        help_text="`not_needed` is paid as well.",
    )
    reason = serializers.CharField()
    reason_text = serializers.CharField()
    node_said = serializers.CharField(
        help_text="What the node's own report named, such as `category_not_allowed`."
    )
    rule = serializers.CharField(help_text="What decided against it, in words.")
    near_miss = NearMissOutput(allow_null=True, help_text="Null when it was right, or a lie.")
    appeal = serializers.SerializerMethodField(help_text="Null when it was not appealed.")
    may_appeal = serializers.BooleanField()
    items = serializers.IntegerField()
    asset = fields.Asset()
    reward = fields.AmountOut(source="reward_minor")
    reward_state = serializers.ChoiceField(["", "pending", "frozen", "voided", "available"])
    released_at = serializers.DateTimeField(allow_null=True)
    assigned_at = serializers.DateTimeField()
    reported_at = serializers.DateTimeField(allow_null=True)
    compute_ms = serializers.IntegerField(allow_null=True)
    images = Picture(many=True)

    @extend_schema_field(AppealNote(allow_null=True))
    def get_appeal(self, view: Any) -> dict[str, str] | None:
        if not view.appeal_state:
            return None
        return {"state": view.appeal_state, "note": view.appeal_note}


class NodeReplicas(base.Endpoint):
    """The work of one machine."""

    scope = "nodes"

    @pagination.listing("nodes_replicas", ReplicaOutput)
    def get(self, request: Request, node_id: str) -> Response:
        """List its work, newest first: verdict, reward, and when that is released."""
        node = access.node(signed_in(request), node_id)
        rows = queries.replica_rows(node.pk)
        page = pagination.paginate(request, rows, order=("assigned_at", "pk"))
        results = ReplicaOutput(
            queries.replica_views(page.rows, now=timezone.now()), many=True
        ).data
        return Response(page.answer(results))


class AppealReplica(base.Endpoint):
    """An operator's word against a refusal."""

    scope = "nodes"

    class Input(fields.Input):
        """Why, if there is more to say than the pictures do."""

        text = fields.Text(
            max_length=appeals.TEXT_LENGTH_MAX, required=False, allow_blank=True, default=""
        )

    @extend_schema(operation_id="replicas_appeal", request=Input, responses={201: AppealNote})
    @idempotency.once
    def post(self, request: Request, replica_id: str) -> Response:
        """Appeal once against the refusal of my node's work: the referee looks, then staff."""
        body = base.read(self.Input, request)
        user = signed_in(request)
        appeal = appeals.lodge(
            replica_id=access.replica(user, replica_id).pk,
            operator_id=user.pk,
            text=body["text"],
            now=timezone.now(),
        )
        return Response(AppealNote(appeal).data, status=status.HTTP_201_CREATED)
