"""`GET me/`."""

from __future__ import annotations

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
