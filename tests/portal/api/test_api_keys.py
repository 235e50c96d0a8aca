"""`keys/`."""

from __future__ import annotations

from portal.models import ApiKey
from tests.portal.api import calls

SHOWN = {"id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"}


def test_a_new_key_is_shown_once_and_works(client_api):
    made = calls.post(client_api, "keys/", {"name": "laptop", "scopes": ["jobs", "read"]}).json()

    assert made.keys() == SHOWN | {"key"}
    assert made["scopes"] == ["read", "jobs"]
    assert made["key"].startswith(made["prefix"] + "_")
    listed = calls.get(client_api, "keys/").json()["results"]
    assert sorted(key["name"] for key in listed) == ["laptop", "test"]
    assert all(key.keys() == SHOWN for key in listed)
    me = client_api.get("/api/v1/me/", headers={"Authorization": f"Bearer {made['key']}"})
    assert me.json()["scopes"] == ["read", "jobs"]


def test_a_key_cannot_make_one_that_may_do_more(client_user):
    api = calls.key_client(client_user, ["keys"])

    response = calls.post(api, "keys/", {"name": "more", "scopes": ["keys", "wallet"]})

    calls.refused(response, 403, "scope_missing")
    assert ApiKey.objects.count() == 1


def test_an_expiry_in_the_past_is_refused(client_api):
    body = {"name": "late", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}

    response = calls.post(client_api, "keys/", body)

    calls.refused(response, 422, "expiry_passed", fields=[("expires_at", "expiry_passed")])
    assert ApiKey.objects.count() == 1


def test_bad_bodies_name_the_field(client_api):
    body = {"name": 7, "scopes": ["admin", 3], "expires_at": "2030-01-01T00:00:00", "x": 1}

    unknown = calls.post(client_api, "keys/", body)
    del body["x"]
    wrong = calls.post(client_api, "keys/", body)

    calls.refused(unknown, 400, "invalid_input", fields=[("x", "unknown_field")])
    calls.refused(
        wrong,
        400,
        "invalid_input",
        fields=[
            ("name", "invalid"),
            ("scopes.0", "invalid_choice"),
            ("scopes.1", "invalid_choice"),
            ("expires_at", "naive"),
        ],
    )
    assert ApiKey.objects.count() == 1


def test_a_revoked_key_is_refused_at_once_and_cannot_be_revoked_again(client_api):
    made = calls.post(client_api, "keys/", {"name": "short", "scopes": ["read"]}).json()

    revoked = calls.post(client_api, f"keys/{made['id']}/revoke/")
    again = calls.post(client_api, f"keys/{made['id']}/revoke/")

    assert revoked.json()["revoked_at"] is not None
    calls.refused(again, 404, "not_found")
    me = client_api.get("/api/v1/me/", headers={"Authorization": f"Bearer {made['key']}"})
    calls.refused(me, 401, "key_invalid")
