"""Errors of every kind are problems under /api/, and pages elsewhere."""

from __future__ import annotations

import json

import pytest
from django.http import Http404
from django.test import RequestFactory

from portal.api import problems
from tasks import queries
from tasks.models import Dataset
from tests import factories
from tests.portal.api import calls


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed"),
        (b"", "invalid_input"),
        (b"\xff\xfe", "not_utf8"),
        (b'{"name": NaN}', "malformed"),
        (b'{"name": Infinity}', "malformed"),
        (b'{"name": 1e999}', "malformed"),
        (b'{"name": "a", "name": "b"}', "malformed"),
        (b'{"name": "a\\u0000b"}', "bad_character"),
        (b'{"a\\u0000": 1}', "bad_character"),
        (b'{"name": "\\ud800"}', "bad_character"),
        (b"[" * 21 + b"]" * 21, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"name": ' + b"9" * 5000 + b"}", "malformed"),
        (b"[]", "invalid_input"),
        (b"null", "invalid_input"),
        (b'"text"', "invalid_input"),
    ],
)
def test_bodies_that_are_no_sound_json_object_are_refused(client_api, body, code):
    calls.refused(calls.post(client_api, "datasets/", body), 400, code)
    assert Dataset.objects.count() == 0


def test_a_body_that_is_too_large_is_refused(client_api):
    body = b'{"name": "' + b"x" * 1024 * 1024 + b'"}'

    calls.refused(calls.post(client_api, "datasets/", body), 413, "too_large")
    assert Dataset.objects.count() == 0


def test_a_body_that_is_no_json_is_refused(client_api):
    response = client_api.post(calls.BASE + "datasets/", "name=x", content_type="text/plain")

    calls.refused(response, 415, "unsupported_media_type")
    assert Dataset.objects.count() == 0


def test_a_method_that_is_not_there_is_refused_with_those_that_are(client_api):
    response = client_api.delete(calls.BASE + "datasets/")

    calls.refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_a_media_type_that_is_not_there_is_refused(client_api):
    calls.refused(calls.get(client_api, "me/", Accept="image/png"), 406, "not_acceptable")


@pytest.mark.parametrize("path", ["", "nothing/", "jobs", "jobs/x/y/z/", "metrics/"])
@pytest.mark.parametrize("is_debug", [True, False])
def test_an_address_that_is_not_there_is_a_problem(client, db, settings, path, is_debug):
    settings.DEBUG = is_debug

    calls.refused(calls.get(client, path), 404, "not_found")


def test_an_id_with_strange_bytes_is_not_found(client_api):
    for text in ("%00", "%ff", "job_" + "0" * 26, "a" * 5000, "..%2f"):
        calls.refused(calls.get(client_api, f"jobs/{text}/"), 404, "not_found")


def test_a_broken_view_is_a_problem_and_is_recorded(client_user, monkeypatch, caplog):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(queries, "job_acks", fail)
    job = factories.make_job(client_user)
    api = calls.key_client(client_user)
    api.raise_request_exception = False

    problem = calls.refused(calls.get(api, f"jobs/{job.pk}/acks/"), 500, "server_error")

    assert "secret" not in json.dumps(problem)
    assert "secret detail" in caplog.text


def test_the_types_of_problems_stand_under_the_public_address(client, db, settings):
    settings.PUBLIC_URL = "https://nodefolk.example"

    problem = calls.refused(calls.get(client, "me/"), 401, "not_authenticated")

    assert problem["type"] == "https://nodefolk.example/docs/errors/not_authenticated"
    assert problem["title"] == "Not authenticated"


def test_outside_the_api_there_are_pages():
    request = RequestFactory().get("/nothing")

    lost, broken = problems.not_found(request, Http404()), problems.server_error(request)

    assert (lost.status_code, broken.status_code) == (404, 500)
    assert lost.headers["Content-Type"] != problems.MEDIA_TYPE


def test_below_the_api_but_outside_a_version_there_are_problems():
    request = RequestFactory().get("/api/v9/x")

    calls.refused(problems.not_found(request, Http404()), 404, "not_found")
    calls.refused(problems.server_error(request), 500, "server_error")
