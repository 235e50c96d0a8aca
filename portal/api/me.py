"""`me/`: who the caller is to us, and what the account is for."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import keys, kyc, roles
from portal.api import base, fields
from portal.api.authentication import signed_in
from portal.models import ApiKey, KycCase, User
from tasks.models import Job


class Me(base.Endpoint):
    """The caller."""

    scope_to_change = "jobs"

    class Input(fields.Input):
        """What the client says."""

        client_category = fields.Choice(choices=Job.ClientCategory.choices)

    class Output(serializers.Serializer[Any]):
        """The caller, and what this key (or session) may do."""

        class Kyc(serializers.Serializer[Any]):
            status = serializers.ChoiceField(KycCase.Status.choices)
            level = serializers.IntegerField()

        id = serializers.CharField()
        email = serializers.EmailField()
        roles = serializers.ListField(child=serializers.CharField())
        kyc = Kyc()
        scopes = serializers.ListField(child=serializers.CharField())
        client_category = serializers.ChoiceField(
            Job.ClientCategory.choices,
            help_text="What the account is for; jobs carry it, and nodes may leave it out.",
        )

    @extend_schema(operation_id="me", responses=Output)
    def get(self, request: Request) -> Response:
        """Tell who I am, my roles, my identity check, and this key's scopes."""
        return self._answer(request, signed_in(request))

    @extend_schema(operation_id="me_change", request=Input, responses=Output)
    def patch(self, request: Request) -> Response:
        """Say what my account is for; 409 `category_fixed` once staff have settled it."""
        body = base.read(self.Input, request)
        user = roles.declare_category(user=signed_in(request), category=body["client_category"])
        return self._answer(request, user)

    def _answer(self, request: Request, user: User) -> Response:
        scopes = request.auth.scopes if isinstance(request.auth, ApiKey) else list(keys.SCOPES)
        caller = {
            "id": user.pk,
            "email": user.email,
            "roles": user.roles,
            "kyc": kyc.status(user),
            "scopes": scopes,
            "client_category": user.client_category,
        }
        return Response(self.Output(caller).data)
