"""What all endpoints share: who may call, how bodies and queries are read."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from portal.api import fields
from portal.api.authentication import HasRole, HasScope, IsPerson
from portal.api.parsers import StrictJSONParser
from portal.api.throttling import AnonymousRate, UserRate


class Endpoint(APIView):
    """One resource's address. Subclasses parse, make one domain call, and answer."""

    permission_classes = [IsAuthenticated, HasScope, HasRole, IsPerson]
    throttle_classes = [UserRate, AnonymousRate]
    parser_classes = [StrictJSONParser]

    #: One of `portal.keys.SCOPES` that a key needs here; None when any key will do.
    scope: ClassVar[str | None] = None
    #: The same, for methods that change something where reading needs no scope.
    scope_to_change: ClassVar[str | None] = None
    #: The role needed for methods that change something.
    role: ClassVar[str | None] = None
    #: Whether only a user with approved identity may call.
    needs_person: ClassVar[bool] = False


class AnyAccept(BaseContentNegotiation):
    """The answer has one form, or the query names it, so any `Accept` will do."""

    def select_renderer(
        self, _request: Request, renderers: Any, _format_suffix: str | None = None
    ) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


class OpenEndpoint(Endpoint):
    """An address for callers without any login."""

    authentication_classes = []
    permission_classes = [AllowAny]


def client_address(request: Request) -> str:
    """Return who asks, counting `NODEFOLK_PROXIES` of our own in front, as rate limits do."""
    return AnonymousRate().get_ident(request) or ""


def read(shape: type[fields.Input], request: Request) -> dict[str, Any]:
    """Return the checked body.

    Raises:
        ValidationError: the body has not this shape.
    """
    return _checked(shape(data=request.data))


def read_query(shape: type[fields.Query], request: Request) -> dict[str, Any]:
    """Return the checked query parameters.

    Raises:
        ValidationError: unknown, given twice, or not of this shape.
    """
    for name, values in request.query_params.lists():
        if len(values) > 1:
            raise ValidationError({name: ["Given more than once."]}, code="repeated")
    return _checked(shape(data=request.query_params.dict()))


def _checked(form: serializers.Serializer[Any]) -> dict[str, Any]:
    form.is_valid(raise_exception=True)
    checked: dict[str, Any] = form.validated_data
    return checked
