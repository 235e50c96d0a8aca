"""`nodes/`: an operator's machines, enrolled, watched and steered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access
from portal.api import base, fields, idempotency, node_limits, pagination
from portal.api.authentication import signed_in
from portal.api.replicas import NearMissOutput
from tasks import identity, node_views, nodes, rotation, standing, succession
from tasks.models import Credibility, Node
from workers.protocol import limits, messages, signatures

TOKEN_LENGTH_MAX = 200
PUBLIC_KEY_LENGTH_MAX = 100
ROTATION_LENGTH_MAX = 500
CORES_MAX = 100_000
MEMORY_BYTES_MAX = 2**60


class Record(serializers.Serializer[Any]):
    """What is believed of a node for one model version."""

    model = serializers.CharField(source="model_id")
    model_name = serializers.CharField()
    state = serializers.ChoiceField(Credibility.State.choices)
    checks = serializers.FloatField(help_text="Passed since its last strike.")
    credibility = serializers.FloatField(
        help_text="At least this probably an unchecked answer is right."
    )
    strikes = serializers.IntegerField()
    barred_until = serializers.DateTimeField(
        allow_null=True, help_text="No work of this model until then."
    )
    image_ms = serializers.FloatField(
        allow_null=True,
        help_text="Milliseconds a picture took of late, learned from accepted answers.",
    )
    images_in_time = serializers.IntegerField(
        allow_null=True, help_text="Pictures it computes in the 10 s that a chunk may take."
    )
    staff_note = serializers.CharField(
        help_text="What staff say of a quarantine of theirs; empty else."
    )


class NodeOutput(serializers.Serializer[Any]):
    """A machine as its operator sees it."""

    class Earnings(serializers.Serializer[Any]):
        pending = fields.AmountOut(source="pending_minor")
        frozen = fields.AmountOut(
            source="frozen_minor", help_text="Of pending: kept back while work is looked at again."
        )
        available = fields.AmountOut(source="available_minor")
        paid = fields.AmountOut(source="paid_minor")

    class Work(serializers.Serializer[Any]):
        running = serializers.IntegerField()
        accepted = serializers.IntegerField()
        rejected = serializers.IntegerField()
        lost = serializers.IntegerField()

    id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(["online", "offline", "paused", "suspended", "retired"])
    reason = serializers.CharField(help_text="Why it does not work; empty when it does.")
    reason_text = serializers.CharField()
    staff_note = serializers.CharField(
        help_text="What staff say while they give it no work; empty else."
    )
    last_seen_at = serializers.DateTimeField(allow_null=True)
    enrolled_at = serializers.DateTimeField()
    clock_skew_seconds = serializers.FloatField(
        allow_null=True, help_text="How far its clock is ahead; beyond 600 it is not heard."
    )
    credibility = Record(
        many=True, help_text="How far its unchecked answers are believed, per model version."
    )
    warnings = NearMissOutput(
        many=True, help_text="Answers that were nearly right and are not forgiven, newest first."
    )
    slots = serializers.IntegerField()
    limits = node_limits.LimitsOutput()
    hardware = serializers.DictField()
    software_version = serializers.CharField()
    numeric_class = serializers.CharField()
    benchmark_image_ms = serializers.FloatField(
        allow_null=True,
        help_text="A slot's own measure of the platform's detector, milliseconds a picture.",
    )
    work = Work(source="*")
    asset = fields.Asset()
    earnings = Earnings(source="*")


@extend_schema_field(
    {
        "type": "object",
        "required": ["cores", "memory_bytes"],
        "properties": {
            "cores": {"type": "integer", "minimum": 1, "maximum": CORES_MAX},
            "memory_bytes": {"type": "integer", "minimum": 1, "maximum": MEMORY_BYTES_MAX},
        },
        "additionalProperties": True,
    }
)
class Hardware(fields.Notes):
    """What the machine is; more may be said than its cores and memory."""

    class Known(serializers.Serializer[Any]):
        cores = fields.Whole(min_value=1, max_value=CORES_MAX)
        memory_bytes = fields.Whole(min_value=1, max_value=MEMORY_BYTES_MAX)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        hardware = super().to_internal_value(data)
        self.Known(data=hardware).is_valid(raise_exception=True)
        return hardware


class BrokerOutput(serializers.Serializer[Any]):
    """A node's login at the broker, shown once."""

    url = serializers.CharField()
    username = serializers.CharField()
    password = serializers.CharField()
    vhost = serializers.CharField()
    queue = serializers.CharField()


class Enrollments(base.Endpoint):
    """Tokens that let machines in."""

    scope = "nodes"
    role = "operator"
    needs_person = True

    class Output(serializers.Serializer[Any]):
        """A token, shown once."""

        token = serializers.CharField()
        expires_at = serializers.DateTimeField()

    @extend_schema(operation_id="nodes_enrollments_create", request=None, responses={201: Output})
    @idempotency.once
    def post(self, request: Request) -> Response:
        """Make a token that enrols one node."""
        base.read(fields.Nothing, request)
        token = nodes.issue_token(owner_id=signed_in(request).pk, now=timezone.now())
        return Response(self.Output(token).data, status=status.HTTP_201_CREATED)


class Nodes(base.Endpoint):
    """The caller's machines; a machine itself posts here, with its token and no login."""

    scope = "nodes"

    class Input(fields.Input):
        """A machine's first words."""

        token = fields.Text(max_length=TOKEN_LENGTH_MAX)
        name = fields.Text(max_length=nodes.NAME_LENGTH_MAX)
        public_key = fields.Text(
            max_length=PUBLIC_KEY_LENGTH_MAX, help_text="Base64 of the 32 raw Ed25519 bytes."
        )
        hardware = Hardware()

    class Output(serializers.Serializer[Any]):
        """What the new node needs to begin."""

        class Model(serializers.Serializer[Any]):
            digest = serializers.CharField()
            size_bytes = serializers.IntegerField()
            url = serializers.CharField()
            contract = serializers.SerializerMethodField(
                help_text="How pictures go in and answers come out, as in a manifest."
            )

            def get_contract(self, model: messages.ModelReference) -> dict[str, Any]:
                return model.contract.model_dump(mode="json")

        id = serializers.CharField(source="node.pk")
        broker = BrokerOutput()
        platform_key = serializers.CharField(help_text="Base64; assignments are signed by it.")
        models = Model(many=True)

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if self._is_enrolment() else super().get_authenticators()

    def get_permissions(self) -> Sequence[Any]:
        return [AllowAny()] if self._is_enrolment() else super().get_permissions()

    def _is_enrolment(self) -> bool:
        # Without a request the OpenAPI document is being made.
        return getattr(self.request, "method", None) == "POST"

    @pagination.listing("nodes_list", NodeOutput)
    def get(self, request: Request) -> Response:
        """List my nodes, newest first."""
        user = signed_in(request)
        page = pagination.paginate(request, access.nodes(user), order=("enrolled_at", "pk"))
        views = {view.id: view for view in node_views.of_owner(user.pk, now=timezone.now())}
        results = NodeOutput([views[node.pk] for node in page.rows], many=True).data
        return Response(page.answer(results))

    @extend_schema(operation_id="nodes_create", request=Input, responses={201: Output}, auth=[])
    def post(self, request: Request) -> Response:
        """Enrol this machine. Not repeatable: the token is used up by the first success."""
        body = base.read(self.Input, request)
        enrollment = nodes.enroll(**body, address=base.client_address(request), now=timezone.now())
        return Response(self.Output(enrollment).data, status=status.HTTP_201_CREATED)


class OneNode(base.Endpoint):
    """One machine of the caller."""

    scope = "nodes"

    @extend_schema(operation_id="nodes_get", responses=NodeOutput)
    def get(self, request: Request, node_id: str) -> Response:
        """Show one of my nodes."""
        node = access.node(signed_in(request), node_id)
        return Response(NodeOutput(node_views.of_node(node, now=timezone.now())).data)

    @extend_schema(
        operation_id="nodes_change", request=node_limits.NodeChange, responses=NodeOutput
    )
    def patch(self, request: Request, node_id: str) -> Response:
        """Change limits of the node, as its page does; its own file may be stricter still."""
        body = base.read(node_limits.NodeChange, request)
        node = access.node(signed_in(request), node_id)
        changed = nodes.change_wishes(node_id=node.pk, changes=body["limits"])
        return Response(NodeOutput(node_views.of_node(changed, now=timezone.now())).data)


class _Steer(base.Endpoint):
    """A change of state, or 409 `wrong_state` with the state it is in."""

    scope = "nodes"

    def steer(self, request: Request, node_id: str, change: Callable[..., Node]) -> Response:
        base.read(fields.Nothing, request)
        now = timezone.now()
        node = change(node_id=access.node(signed_in(request), node_id).pk, now=now)
        return Response(NodeOutput(node_views.of_node(node, now=now)).data)


class PauseNode(_Steer):
    """Pausing."""

    @extend_schema(operation_id="nodes_pause", request=None, responses=NodeOutput)
    @idempotency.once
    def post(self, request: Request, node_id: str) -> Response:
        """Give the node no new work; what it holds it finishes."""
        return self.steer(request, node_id, nodes.pause)


class ResumeNode(_Steer):
    """Resuming."""

    @extend_schema(operation_id="nodes_resume", request=None, responses=NodeOutput)
    @idempotency.once
    def post(self, request: Request, node_id: str) -> Response:
        """Give a paused node work again."""
        return self.steer(request, node_id, nodes.resume)


class RetireNode(_Steer):
    """Retiring."""

    @extend_schema(operation_id="nodes_retire", request=None, responses=NodeOutput)
    @idempotency.once
    def post(self, request: Request, node_id: str) -> Response:
        """End the node for good; its broker access is revoked at once."""
        return self.steer(request, node_id, nodes.retire)


#: What a machine sends without a login: anything whose signature is right.
SIGNED: dict[str, Any] = {
    "request": {"application/json": {"type": "object", "additionalProperties": True}},
    "parameters": [
        OpenApiParameter(
            signatures.HTTP_HEADER,
            str,
            OpenApiParameter.HEADER,
            required=True,
            description="Base64 of the Ed25519 signature over the body.",
        )
    ],
    "auth": [],
}


class NodeStanding(base.OpenEndpoint):
    """A machine asks what its page says of it: no login, its key signs."""

    class Output(serializers.Serializer[Any]):
        """The same as in `nodes/{id}/`."""

        state = serializers.CharField()
        reason = serializers.CharField()
        warnings = serializers.SerializerMethodField(
            help_text="Answers that were nearly right, in words; the newest few."
        )

        @extend_schema_field(serializers.ListField(child=serializers.CharField()))
        def get_warnings(self, view: node_views.NodeView) -> list[str]:
            return [warning.told for warning in view.warnings[: limits.WARNINGS_MAX]]

    @extend_schema(operation_id="nodes_standing", responses=Output, **SIGNED)
    def post(self, request: Request, node_id: str) -> Response:
        """Tell this machine why it does not work, in the word of its page."""
        view = standing.of_node(
            node_id=node_id,
            body=request._request.body,  # noqa: SLF001 -- DRF offers only the parsed body
            signature=request.headers.get(signatures.HTTP_HEADER, ""),
            now=timezone.now(),
        )
        return Response(self.Output(view).data)


class LeaveNode(base.OpenEndpoint):
    """The machine's own way out: no login, its key signs."""

    @extend_schema(operation_id="nodes_leave", responses={204: None}, **SIGNED)
    def post(self, request: Request, node_id: str) -> Response:
        """Retire this machine for good at its own signed request; again changes nothing."""
        nodes.leave(
            node_id=node_id,
            # As received: the signature is over the bytes, not over what they mean.
            body=request._request.body,  # noqa: SLF001 -- DRF offers only the parsed body
            signature=request.headers.get(signatures.HTTP_HEADER, ""),
            now=timezone.now(),
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class NodeKeys(base.OpenEndpoint):
    """A machine's key and broker password; it shows who it is by signing with its key."""

    class Input(fields.Input):
        """Signed by the key in force and by the one that follows."""

        request = fields.Text(
            max_length=ROTATION_LENGTH_MAX,
            help_text="JSON of v, kind (key_rotation), sent_at, node and public_key.",
        )
        signature = fields.Text(
            max_length=PUBLIC_KEY_LENGTH_MAX, help_text="The present key's, over `request`."
        )
        proof = fields.Text(
            max_length=PUBLIC_KEY_LENGTH_MAX, help_text="The new key's, over `request`."
        )

    class Output(serializers.Serializer[Any]):
        """What the node goes on with."""

        broker = BrokerOutput()
        platform_key = serializers.CharField()

    @extend_schema(operation_id="nodes_rotate_keys", request=Input, responses=Output, auth=[])
    def post(self, request: Request, node_id: str) -> Response:
        """Change key and password; the old ones and open connections end at once."""
        body = base.read(self.Input, request)
        rotated = rotation.rotate(
            node_id=node_id, **body, address=base.client_address(request), now=timezone.now()
        )
        return Response(self.Output(rotated).data)


class PlatformKeys(base.OpenEndpoint):
    """How the platform's key became today's."""

    class Output(serializers.Serializer[Any]):
        """Each change is signed by the key before it."""

        class Change(serializers.Serializer[Any]):
            body = serializers.CharField()
            signature = serializers.CharField()

        current = serializers.CharField()
        changes = Change(many=True)

    @extend_schema(operation_id="platform_keys", responses=Output, auth=[])
    def get(self, request: Request) -> Response:
        """Show today's key and every change that led to it, oldest first."""
        known = {
            "current": identity.platform_public_key(),
            "changes": succession.changes(),
        }
        return Response(self.Output(known).data)
