"""`models/`."""

from __future__ import annotations

from tests import factories
from tests.portal.api import calls


def test_the_catalog_shows_what_is_offered(client_api):
    shown = factories.make_model()
    factories.make_model(slug="old", is_offered=False)

    results = calls.get(client_api, "models/").json()["results"]

    assert [model["id"] for model in results] == [shown.pk]
    assert results[0].keys() == {
        "id", "kind", "slug", "name", "version", "digest", "size_bytes", "labels", "licence",
        "source", "owner", "visibility", "image_ms", "created_at",
    }  # fmt: skip
    assert results[0]["labels"] == {"1": "person", "17": "cat"}
    assert results[0]["size_bytes"] == shown.blob.size_bytes


def test_one_model_also_shows_its_tensors(client_api):
    shown = factories.make_model()

    body = calls.get(client_api, f"models/{shown.pk}/").json()

    assert body["tensor_contract"]["output"]["decoder"] == "ssd"
    assert body["check_report"] == {}
    assert body["digest"] == shown.blob_id


def test_a_model_no_longer_offered_is_not_found(client_api):
    hidden = factories.make_model(is_offered=False)

    calls.refused(calls.get(client_api, f"models/{hidden.pk}/"), 404, "not_found")


def test_the_catalog_needs_a_login(client, db):
    calls.refused(calls.get(client, "models/"), 401, "not_authenticated")
