"""Each problem's `type` leads to a page that explains it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from django.apps import apps
from django.utils.html import escape

from portal.api import problems
from portal.api.codes import EXPLANATIONS
from tasks.errors import Refused

ROOMS = ("portal", "tasks")


def every_refusal(base=Refused):
    for subclass in base.__subclasses__():
        yield subclass
        yield from every_refusal(subclass)


def test_every_refusal_is_explained():
    codes = {refusal.code for refusal in every_refusal()}

    assert codes - EXPLANATIONS.keys() == set()


def test_every_code_that_views_give_is_explained():
    root = Path(apps.get_app_config("portal").path) / "api"
    given = {
        keyword.value.value
        for path in root.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem"
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }

    assert "not_found" in given
    assert given - EXPLANATIONS.keys() == set()


@pytest.mark.django_db
def test_a_type_can_be_opened_without_signing_in(client, settings):
    answer = client.get("/api/v1/me/").json()

    page = client.get(answer["type"].removeprefix(settings.PUBLIC_URL))

    assert page.status_code == 200
    assert escape(EXPLANATIONS[answer["code"]]) in page.text


def test_an_unknown_code_is_not_found(client):
    assert client.get("/docs/errors/no_such_code").status_code == 404


def test_the_list_names_every_code(client):
    page = client.get("/docs/errors/")

    assert [code for code in EXPLANATIONS if f"<code>{code}</code>" not in page.text] == []


def test_problems_point_here(settings):
    body = json.loads(problems.ProblemResponse(problems.NOT_FOUND).content)

    assert body["type"] == f"{settings.PUBLIC_URL}/docs/errors/not_found"
