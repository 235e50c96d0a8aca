"""The catalog's pages, bringing a model, and a classifier's gallery."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from portal.web import catalog
from tasks import uploads
from tasks.models import CatalogModel, Job
from tests import factories
from tests.tasks import own_models, work
from tests.tasks.test_classify import report
from tests.workers.protocol.modelcheck import builders

pytestmark = pytest.mark.django_db


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_ones_own_and_the_public_ones(as_client, client_user, stranger):
    factories.make_model(name="Built in")
    factories.make_model(name="My own", owner=client_user, visibility="private")
    factories.make_model(name="Theirs", owner=stranger, visibility="private")

    page = text_of(as_client.get("/models/"))

    assert page.index("My own") < page.index("Built in")
    assert ("you alone" in page, "everyone" in page, "Theirs" in page) == (True, True, False)


def test_a_models_page_shows_its_check_and_speed(as_client, client_user):
    job = work.start(client_user, factories.make_fleet(2, numeric_class="ort-1/cpu"))
    work.take(*(work.report_of(replica) for replica in work.leased(job)))

    page = text_of(as_client.get(f"/models/{job.model_id}/"))

    assert "ort-1/cpu" in page
    assert "120 ms" not in page.split("Speed on nodes")[0]
    assert "Apache-2.0" in page


def test_a_strangers_model_is_not_found(as_client, stranger):
    theirs = factories.make_model(owner=stranger, visibility="private")

    assert as_client.get(f"/models/{theirs.pk}/").status_code == 404


@pytest.mark.parametrize("name", catalog.EXAMPLES)
def test_every_example_is_a_manifest(name):
    manifest = uploads.read_manifest(json.dumps(dict(catalog.EXAMPLES[name])))

    assert manifest.name == catalog.EXAMPLES[name]["name"]


@pytest.mark.slow
def test_a_model_is_brought_by_the_page(as_client, client_user):
    file = SimpleUploadedFile("m.onnx", builders.classifier())

    response = as_client.post(
        "/models/new/", {"file": file, "manifest": json.dumps(own_models.manifest())}
    )

    model = CatalogModel.objects.get()
    assert (response.status_code, response.url) == (302, f"/models/{model.pk}/")
    page = text_of(as_client.get(response.url))
    assert "yours; only you see and use it" in page
    assert "float32" in page


def test_a_refused_model_says_why_beside_the_field(as_client):
    file = SimpleUploadedFile("m.onnx", b"nothing")

    response = as_client.post(
        "/models/new/", {"file": file, "manifest": json.dumps(own_models.manifest())}
    )

    assert response.status_code == 422
    assert response.context["form"].errors["file"]
    assert CatalogModel.objects.count() == 0


def test_an_operator_brings_no_model(as_operator):
    assert as_operator.get("/models/new/").status_code == 403


def test_a_classifier_is_ordered_by_the_page_and_its_gallery_names_pictures(as_client, client_user):
    factories.fund(client_user)
    dataset, model = factories.make_dataset(client_user), factories.make_classifier()
    order = {
        "dataset": dataset.pk,
        "model": model.pk,
        "target_error": "1e-3",
        "score_threshold": "0.3",
    }

    assert as_client.post("/jobs/new/", order).status_code == 302

    job = Job.objects.get()
    assert job.kind == "classify"
    factories.announce(job, nodes=factories.make_fleet(3))
    work.scheduling.assign_ready(now=factories.NOW)
    work.take(*(report(replica) for replica in work.leased(job)))
    gallery = text_of(as_client.get(f"/jobs/{job.pk}/pictures/"))
    assert "cat" in gallery
    assert "data-box-count" not in gallery
    item = job.items.get()
    assert "0.70" in text_of(as_client.get(f"/jobs/{job.pk}/pictures/{item.pk}/"))
