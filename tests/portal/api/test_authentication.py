"""Who may call: keys, sessions, scopes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from portal import keys
from tasks.models import Dataset
from tests import factories
from tests.portal.api import calls


def bearer(text: str) -> Client:
    return Client(headers={"Authorization": text})


@pytest.mark.parametrize("path", ["me/", "jobs/", "nodes/", "wallet/", "keys/", "datasets/"])
def test_nobody_gets_nothing(client, db, path):
    response = calls.get(client, path)

    calls.refused(response, 401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="nodefolk"'


@pytest.mark.parametrize(
    "text", ["Bearer", "Bearer ", "Bearer nf_0000000000_x", "Bearer " + "a" * 9000, "bearer é"]
)
def test_what_is_no_key_is_refused(db, text):
    response = calls.get(bearer(text), "me/")

    calls.refused(response, 401, "key_invalid")


def test_another_scheme_is_as_good_as_none(db):
    calls.refused(calls.get(bearer("Basic YTpi"), "me/"), 401, "not_authenticated")


def test_an_expired_key_is_refused(client_user):
    past = factories.NOW - timedelta(days=900)
    created = keys.create(
        user=client_user, name="old", scopes=["read"], expires_at=past + timedelta(days=1), now=past
    )

    calls.refused(calls.get(bearer(f"Bearer {created.secret}"), "me/"), 401, "key_invalid")


def test_a_suspended_user_is_refused_with_key_and_session(client_user):
    api, site = calls.key_client(client_user), Client()
    site.force_login(client_user)
    client_user.is_active = False
    client_user.save()

    calls.refused(calls.get(api, "me/"), 401, "key_invalid")
    calls.refused(calls.get(site, "me/"), 401, "not_authenticated")


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (["read"], "jobs/", 200),
        (["jobs"], "jobs/", 200),
        (["jobs"], "wallet/", 403),
        (["wallet"], "jobs/", 403),
        (["nodes"], "nodes/", 200),
        (["nodes"], "keys/", 403),
        (["keys"], "keys/", 200),
        (["wallet"], "models/", 200),
    ],
)
def test_a_key_reads_what_its_scopes_cover(client_user, scopes, path, status):
    response = calls.get(calls.key_client(client_user, scopes), path)

    assert response.status_code == status
    if status == 403:
        calls.refused(response, 403, "scope_missing")


def test_a_key_that_reads_changes_nothing(client_user):
    api = calls.key_client(client_user, ["read"])

    calls.refused(calls.post(api, "datasets/", {"name": "x"}), 403, "scope_missing")
    assert Dataset.objects.count() == 0


def test_a_session_needs_the_csrf_token_to_change_something(client_user):
    site = Client(enforce_csrf_checks=True)
    site.force_login(client_user)

    response = calls.post(site, "datasets/", {"name": "x"})

    calls.refused(response, 403, "csrf_failed")
    assert Dataset.objects.count() == 0


def test_a_session_with_the_csrf_token_may(client_user):
    site = Client(enforce_csrf_checks=True)
    site.force_login(client_user)
    site.cookies["csrftoken"] = "a" * 32

    response = calls.post(site, "datasets/", {"name": "x"}, X_CSRFToken="a" * 32)

    assert response.status_code == 201
