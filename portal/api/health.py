"""`health/`: is the process alive, and can it do its work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.base import OpenEndpoint
from portal.api.problems import FieldError, Problem, ProblemResponse
from tasks import broker

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS = 2.0


class Live(OpenEndpoint):
    """Liveness."""

    throttle_classes = []

    class Output(serializers.Serializer[Any]):
        """The process answers."""

        status = serializers.ChoiceField(["ok"])

    @extend_schema(operation_id="health_live", responses=Output, auth=[])
    def get(self, request: Request) -> Response:
        """Say that the process answers; looks at nothing else."""
        return Response(self.Output({"status": "ok"}).data)


class Ready(OpenEndpoint):
    """Readiness."""

    throttle_classes = []

    class Output(serializers.Serializer[Any]):
        """All parts work."""

        status = serializers.ChoiceField(["ok"])
        database = serializers.ChoiceField(["ok"])
        broker = serializers.ChoiceField(["ok"])
        storage = serializers.ChoiceField(["ok"])

    @extend_schema(operation_id="health_ready", responses=Output, auth=[])
    def get(self, request: Request) -> Response | HttpResponse:
        """Say whether database, broker and storage can be used; 503 names those that cannot."""
        broken = {name: said for name, look in CHECKS.items() if (said := look())}
        if broken:
            logger.error("not ready", extra={"broken": broken})
            return ProblemResponse(_problem(broken))
        return Response(self.Output({"status": "ok", **dict.fromkeys(CHECKS, "ok")}).data)


def database_trouble() -> str:
    """Say why the database cannot be used; empty when it can."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "It does not answer."
    return ""


def broker_trouble() -> str:
    """Say why the broker takes no messages; empty when it does."""
    return broker.trouble(BROKER_TIMEOUT_SECONDS)


def storage_trouble() -> str:
    """Say why the blob storage takes no file; empty when it takes one and lets go of it."""
    try:
        default_storage.delete(default_storage.save("health/probe", ContentFile(b"ok")))
    except OSError:
        return "It takes no files."
    return ""


#: Part -> what is wrong with it.
CHECKS: dict[str, Callable[[], str]] = {
    "database": database_trouble,
    "broker": broker_trouble,
    "storage": storage_trouble,
}


def _problem(broken: dict[str, str]) -> Problem:
    return Problem(
        status=503,
        code="not_ready",
        detail=f"Not usable: {', '.join(broken)}.",
        errors=tuple(
            FieldError(field=name, code="unavailable", detail=said) for name, said in broken.items()
        ),
    )
