"""`GET me/`."""

from __future__ import annotations

import pytest
from django.test import Client

from tests import factories
from tests.portal.api import calls


def test_the_caller_sees_roles_identity_and_the_scopes_of_the_key(operator):
    response = calls.get(calls.key_client(operator, ["read", "nodes"]), "me/")

    assert response.status_code == 200
    assert response.json() == {
        "id": str(operator.pk),
        "email": operator.email,
        "roles": ["operator"],
        "kyc": {"status": "approved", "level": 1},
        "scopes": ["read", "nodes"],
        "client_category": "undeclared",
    }


def test_without_an_identity_check_the_status_is_none(client_user):
    response = calls.get(calls.key_client(client_user), "me/")

    assert response.json()["kyc"] == {"status": "none", "level": 0}


def test_someone_signed_in_has_every_scope(client_user):
    site = Client()
    site.force_login(client_user)

    response = calls.get(site, "me/")

    assert response.json()["scopes"] == ["read", "jobs", "nodes", "wallet", "keys"]


def test_any_key_will_do(db):
    user = factories.make_user("client")

    assert calls.get(calls.key_client(user, ["wallet"]), "me/").status_code == 200


def test_a_client_says_what_the_account_is_for(client_user):
    api = calls.key_client(client_user)

    answer = calls.patch(api, "me/", {"client_category": "research"})

    assert (answer.status_code, answer.json()["client_category"]) == (200, "research")
    assert calls.get(api, "me/").json()["client_category"] == "research"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "required"),
        ({"client_category": "mining"}, "invalid_choice"),
        ({"client_category": None}, "null"),
        ({"client_category": "research", "email": "x@example.com"}, "unknown_field"),
    ],
)
def test_what_is_no_category_changes_nothing(client_user, body, code):
    problem = calls.refused(
        calls.patch(calls.key_client(client_user), "me/", body), 400, "invalid_input"
    )

    assert problem["errors"][0]["code"] == code
    client_user.refresh_from_db()
    assert client_user.client_category == "undeclared"


def test_what_staff_have_settled_stays(db):
    user = factories.make_user("client", client_category="commercial", is_category_fixed=True)

    answer = calls.patch(calls.key_client(user), "me/", {"client_category": "nonprofit"})

    calls.refused(answer, 409, "category_fixed", fields=[("client_category", "category_fixed")])
    user.refresh_from_db()
    assert user.client_category == "commercial"


def test_a_key_that_only_reads_changes_nothing(client_user):
    answer = calls.patch(
        calls.key_client(client_user, ["read"]), "me/", {"client_category": "research"}
    )

    calls.refused(answer, 403, "scope_missing")
