"""How tests speak to the API."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from portal import keys
from portal.models import User
from tests import factories

BASE = "/api/v1/"
PROBLEM_NAMES = {"type", "title", "status", "code", "detail", "errors"}


def key_client(user: User, scopes: list[str] | None = None) -> Client:
    """Return a client that sends a new key of the user; all scopes unless told."""
    created = keys.create(
        user=user, name="test", scopes=scopes or list(keys.SCOPES), now=factories.NOW
    )
    return Client(headers={"Authorization": f"Bearer {created.secret}"})


def get(client: Client, path: str, **headers: str) -> Any:
    return client.get(BASE + path, headers=headers)


def post(client: Client, path: str, body: Any = None, **headers: str) -> Any:
    """POST JSON; names of headers are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
    return client.post(BASE + path, text, content_type="application/json", headers=named)


def patch(client: Client, path: str, body: Any) -> Any:
    """PATCH JSON."""
    return client.patch(BASE + path, json.dumps(body), content_type="application/json")


def refused(
    response: Any, status: int, code: str, *, fields: list[tuple[str | None, str]] | None = None
) -> dict[str, Any]:
    """Assert that this is a whole problem; `fields`: the (field, code) pairs of `errors`."""
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(response.content)
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert problem.keys() == PROBLEM_NAMES
    assert problem["status"] == status
    assert problem["type"].endswith(f"/docs/errors/{code}")
    if fields is not None:
        assert [(error["field"], error["code"]) for error in problem["errors"]] == fields
    return problem
