"""`models/`."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import CatalogModel
from tests import factories
from tests.portal.api import calls
from tests.tasks import own_models
from tests.workers.protocol.modelcheck import builders, hostile


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


def upload(api, data=None, **changes):
    parts = {
        "file": SimpleUploadedFile("m.onnx", builders.classifier() if data is None else data),
        "manifest": json.dumps(own_models.manifest(**changes)),
    }
    return api.post("/api/v1/models/", {name: part for name, part in parts.items() if part})


@pytest.mark.slow
def test_a_model_of_ones_own_is_checked_and_private(client_api, stranger_api):
    response = upload(client_api)

    body = response.json()
    assert response.status_code == 201, body
    assert (body["owner"], body["visibility"], body["licence"]) == ("you", "private", "MIT")
    assert body["check_report"]["multiplications"] > 0
    mine = calls.get(client_api, f"models/{body['id']}/").json()
    assert mine["tensor_contract"] == builders.CLASSIFIER.model_dump(mode="json")
    calls.refused(calls.get(stranger_api, f"models/{body['id']}/"), 404, "not_found")
    assert calls.get(stranger_api, "models/").json()["results"] == []


@pytest.mark.parametrize("name", ["Loop", "external", "doubling"])
def test_a_hostile_model_is_refused_with_its_reason(client_api, name):
    known = {"external": "weights in /etc/passwd"}.get(name, name)
    data, code = hostile.MODELS[known]

    response = upload(client_api, data)

    calls.refused(response, 422, code, fields=[("file", code)])
    assert CatalogModel.objects.count() == 0


def test_a_manifest_that_does_not_fit_names_the_tensor(client_api):
    output = {"decoder": "classify", "output": "logits"}

    response = upload(client_api, output=output)

    calls.refused(response, 422, "output_missing", fields=[("file", "output_missing")])
    assert response.json()["detail"].startswith("logits: ")
    assert CatalogModel.objects.count() == 0


def test_a_bad_manifest_is_refused(client_api):
    response = upload(client_api, kind="guess")

    calls.refused(response, 422, "invalid_manifest", fields=[("manifest", "invalid_manifest")])
    assert CatalogModel.objects.count() == 0


def test_both_parts_are_needed_and_no_others(client_api):
    missing = client_api.post("/api/v1/models/", {"manifest": "{}"})
    extra = client_api.post("/api/v1/models/", {"manifest": "{}", "file": "text", "x": "1"})

    assert [each.status_code for each in (missing, extra)] == [400, 400]
    assert CatalogModel.objects.count() == 0


def test_a_model_needs_a_client_with_the_scope(operator_api, client_user):
    reader = calls.key_client(client_user, scopes=["read"])

    calls.refused(upload(operator_api), 403, "role_missing")
    calls.refused(upload(reader), 403, "scope_missing")
    assert CatalogModel.objects.count() == 0
