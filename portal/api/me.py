"""`me/`: who the caller is to us."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import keys, kyc
from portal.api.authentication import signed_in
from portal.api.base import Endpoint
from portal.models import ApiKey, KycCase


class Me(Endpoint):
    """The caller."""

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

    @extend_schema(operation_id="me", responses=Output)
    def get(self, request: Request) -> Response:
        """Tell who I am, my roles, my identity check, and this key's scopes."""
        user = signed_in(request)
        scopes = request.auth.scopes if isinstance(request.auth, ApiKey) else list(keys.SCOPES)
        caller = {
            "id": user.pk,
            "email": user.email,
            "roles": user.roles,
            "kyc": kyc.status(user),
            "scopes": scopes,
        }
        return Response(self.Output(caller).data)
