"""Data sets and their upload, with and without JavaScript."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Dataset, Image
from tests import factories

pytestmark = pytest.mark.django_db

JSON = {"Accept": "application/json"}


def file(name: str = "a.png", data: bytes | None = None) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, factories.picture() if data is None else data)


def test_a_data_set_is_made_and_opened(as_client, client_user):
    answer = as_client.post("/datasets/new/", {"name": "Street"})

    dataset = Dataset.objects.get()
    assert (dataset.name, dataset.owner) == ("Street", client_user)
    assert answer["Location"] == f"/datasets/{dataset.pk}/"


def test_a_data_set_needs_a_name(as_client):
    answer = as_client.post("/datasets/new/", {"name": " "})

    assert answer.status_code == 422
    assert b"This field is required." in answer.content
    assert Dataset.objects.count() == 0


def test_a_plain_form_adds_files_and_lists_the_refused(as_client, client_user):
    dataset = factories.make_dataset(client_user, images=0)

    answer = as_client.post(
        f"/datasets/{dataset.pk}/files/",
        {"files": [file(), file("broken.jpg", b"no picture")]},
        follow=True,
    )

    page = answer.content.decode()
    assert answer.redirect_chain == [(f"/datasets/{dataset.pk}/", 302)]
    assert "Pictures added: 1." in page
    assert "<strong>broken.jpg</strong>" in page
    assert Image.objects.get().name == "a.png"
    again = as_client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "broken.jpg" not in again


def test_the_script_is_answered_in_json(as_client, client_user):
    made = as_client.post("/datasets/new/", {"name": "Dropped"}, headers=JSON)
    url = made.json()["files_url"]

    answer = as_client.post(url, {"files": [file(), file("x.gif", b"GIF")]}, headers=JSON)

    assert made.status_code == 201
    assert made.json()["id"] == Dataset.objects.get().pk
    assert answer.status_code == 201
    assert answer.json()["added"] == 1
    assert [each["name"] for each in answer.json()["rejected"]] == ["x.gif"]


def test_the_script_is_told_of_a_wrong_name(as_client):
    answer = as_client.post("/datasets/new/", {"name": ""}, headers=JSON)

    assert answer.status_code == 422
    assert answer.json() == {"detail": "This field is required."}


def test_files_on_the_new_job_page_make_a_data_set_and_lead_back(as_client):
    form = {"name": "Quick", "files": [file()], "next": "job-new"}

    answer = as_client.post("/datasets/new/", form)

    assert answer["Location"] == f"/jobs/new/?dataset={Dataset.objects.get().pk}"
    assert Image.objects.count() == 1


def test_htmx_gets_the_pictures_alone(as_client, client_user):
    dataset = factories.make_dataset(client_user, images=2)

    answer = as_client.get(f"/datasets/{dataset.pk}/", headers={"HX-Request": "true"})

    assert b"<html" not in answer.content
    assert b"2 pictures" in answer.content


def test_a_picture_is_sent_small_or_whole(as_client, client_user):
    image = factories.make_dataset(client_user, images=1).images.get()

    small = as_client.get(f"/images/{image.pk}?side=240")
    whole = as_client.get(f"/images/{image.pk}")

    assert small["Content-Type"] == "image/webp"
    assert whole["Content-Type"] == "image/png"
    assert b"".join(whole.streaming_content) == factories.picture(color=(0, 0, 7))
