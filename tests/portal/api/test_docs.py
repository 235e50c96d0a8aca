"""`schema/` and `docs/`."""

from __future__ import annotations

from pathlib import Path

import yaml
from django.conf import settings
from django.core.management import call_command

from tests.portal.api import calls


def test_the_document_in_the_repository_is_up_to_date(tmp_path):
    made = tmp_path / "openapi.yaml"

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(made))

    kept = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"
    assert made.read_text() == kept.read_text()


def test_the_document_is_served_to_anyone(client, db):
    response = calls.get(client, "schema/", Accept="application/json")

    assert response.status_code == 200
    assert response.json()["openapi"].startswith("3.")


def test_bodies_are_closed_and_refusals_are_problems(client, db):
    document = yaml.safe_load(calls.get(client, "schema/").content)

    assert document["components"]["schemas"]["JobInput"]["additionalProperties"] is False
    refusal = document["paths"]["/api/v1/jobs/"]["post"]["responses"]["default"]
    assert list(refusal["content"]) == ["application/problem+json"]


def test_the_page_has_no_inline_script_and_its_own_style_rule(client, db):
    response = calls.get(client, "docs/")

    policy = response.headers["Content-Security-Policy"]
    assert response.status_code == 200
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src 'self';" in policy + ";"
    assert "<script>" not in response.text
    assert "drf_spectacular_sidecar" in response.text


def test_other_pages_keep_the_strict_style_rule(client, db):
    policy = calls.get(client, "schema/").headers["Content-Security-Policy"]

    assert "unsafe-inline" not in policy
