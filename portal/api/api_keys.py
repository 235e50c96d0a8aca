"""`keys/`: the caller's API keys."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from portal import access, keys
from portal.api import base, fields, idempotency, pagination
from portal.api.authentication import Forbidden, signed_in
from portal.models import ApiKey


class KeyOutput(serializers.Serializer[Any]):
    """A key, without its secret."""

    id = serializers.CharField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class Keys(base.Endpoint):
    """The caller's keys."""

    scope = "keys"

    class Input(fields.Input):
        name = fields.Text(max_length=keys.NAME_LENGTH_MAX)
        scopes = serializers.ListField(
            child=fields.Choice(choices=list(keys.SCOPES)),
            min_length=1,
            max_length=len(keys.SCOPES),
        )
        expires_at = fields.Moment(required=False, allow_null=True)

    class Output(KeyOutput):
        """A new key; its `key` is shown only here."""

        key = serializers.CharField()

    @pagination.listing("keys_list", KeyOutput)
    def get(self, request: Request) -> Response:
        """List my keys in use, newest first."""
        rows = access.keys(signed_in(request))
        page = pagination.paginate(request, rows, order=("created_at", "pk"))
        return Response(page.answer(KeyOutput(page.rows, many=True).data))

    @extend_schema(operation_id="keys_create", request=Input, responses={201: Output})
    @idempotency.once
    def post(self, request: Request) -> Response:
        """Make a key; a key can only make keys that may do no more than itself."""
        body = base.read(self.Input, request)
        _check_within(request, body["scopes"])
        created = keys.create(
            user=signed_in(request),
            name=body["name"],
            scopes=body["scopes"],
            expires_at=body.get("expires_at"),
            now=timezone.now(),
        )
        shown = {**KeyOutput(created.key).data, "key": created.secret}
        return Response(shown, status=status.HTTP_201_CREATED)


class RevokeKey(base.Endpoint):
    """Revoking."""

    scope = "keys"

    @extend_schema(operation_id="keys_revoke", request=None, responses=KeyOutput)
    @idempotency.once
    def post(self, request: Request, key_id: str) -> Response:
        """End a key at once."""
        base.read(fields.Nothing, request)
        user = signed_in(request)
        key = keys.revoke(key_id=access.key(user, key_id).pk, user=user, now=timezone.now())
        return Response(KeyOutput(key).data)


def _check_within(request: Request, scopes: list[str]) -> None:
    if isinstance(request.auth, ApiKey) and not set(scopes) <= set(request.auth.scopes):
        raise Forbidden("A key cannot make a key that may do more.", code="scope_missing")
