"""`datasets/`."""

from __future__ import annotations

import io
import zipfile

from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Dataset, Image
from tests import factories
from tests.portal.api import calls


def upload(client, dataset_id, files, **fields):
    path = f"{calls.BASE}datasets/{dataset_id}/images/"
    return client.post(path, {"files": files, **fields})


def photo(name="a.png", **kwargs):
    return SimpleUploadedFile(name, factories.picture(**kwargs), "image/png")


def test_a_new_data_set_is_empty_and_listed(client_api):
    made = calls.post(client_api, "datasets/", {"name": " Street cameras "})

    assert made.status_code == 201
    body = made.json()
    assert (body["name"], body["images"]) == ("Street cameras", 0)
    assert calls.get(client_api, f"datasets/{body['id']}/").json() == body
    assert calls.get(client_api, "datasets/").json() == {
        "next": None,
        "previous": None,
        "results": [body],
    }


def test_names_that_are_no_names_are_refused(client_api):
    for name, code in [(0, "invalid"), ("", "blank"), ("x" * 201, "max_length"), (None, "null")]:
        response = calls.post(client_api, "datasets/", {"name": name})

        calls.refused(response, 400, "invalid_input", fields=[("name", code)])
    calls.refused(
        calls.post(client_api, "datasets/", {}), 400, "invalid_input", fields=[("name", "required")]
    )
    assert Dataset.objects.count() == 0


def test_an_operator_cannot_make_a_data_set(operator_api):
    calls.refused(calls.post(operator_api, "datasets/", {"name": "x"}), 403, "role_missing")
    assert Dataset.objects.count() == 0


def test_images_and_zips_are_taken_and_one_bad_file_spoils_nothing(client_api, client_user):
    dataset = factories.make_dataset(client_user, images=0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.png", factories.picture(color=(1, 2, 3)))
    files = [
        photo(),
        SimpleUploadedFile("bad.jpg", b"no picture"),
        SimpleUploadedFile("more.zip", packed.getvalue()),
    ]

    response = upload(client_api, dataset.pk, files)

    assert response.status_code == 201
    body = response.json()
    assert [image["name"] for image in body["added"]] == ["a.png", "inside.png"]
    assert body["added"][0].keys() == {"id", "name", "digest", "width", "height"}
    assert (body["added"][0]["width"], body["added"][0]["height"]) == (64, 48)
    assert [(r.keys(), r["name"]) for r in body["rejected"]] == [
        ({"name", "code", "detail"}, "bad.jpg")
    ]
    listed = calls.get(client_api, f"datasets/{dataset.pk}/images/").json()["results"]
    assert sorted(image["id"] for image in listed) == sorted(i["id"] for i in body["added"])
    assert calls.get(client_api, f"datasets/{dataset.pk}/").json()["images"] == 2


def test_when_every_file_is_bad_nothing_is_added(client_api, client_user):
    dataset = factories.make_dataset(client_user, images=0)

    response = upload(client_api, dataset.pk, [SimpleUploadedFile("bad.jpg", b"no picture")])

    assert response.status_code == 201
    assert response.json()["added"] == []
    assert Image.objects.count() == 0


def test_an_upload_without_files_is_refused(client_api, dataset):
    calls.refused(upload(client_api, dataset.pk, []), 400, "no_files")
    text = upload(client_api, dataset.pk, ["just text"])
    calls.refused(text, 400, "invalid_input", fields=[("files", "invalid")])
    assert Image.objects.count() == 2


def test_an_upload_with_another_field_is_refused(client_api, dataset):
    response = upload(client_api, dataset.pk, [photo()], label="cat")

    calls.refused(response, 400, "invalid_input", fields=[("label", "unknown_field")])
    assert Image.objects.count() == 2


def test_an_upload_that_is_no_form_is_refused(client_api, dataset):
    calls.refused(
        calls.post(client_api, f"datasets/{dataset.pk}/images/", {"a": 1}),
        415,
        "unsupported_media_type",
    )
    broken = client_api.post(
        f"{calls.BASE}datasets/{dataset.pk}/images/", b"--x", content_type="multipart/form-data"
    )
    calls.refused(broken, 400, "malformed")
    assert Image.objects.count() == 2


def test_too_many_files_are_refused(client_api, dataset, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 1

    response = upload(client_api, dataset.pk, [photo("a.png"), photo("b.png")])

    calls.refused(response, 400, "malformed")
    assert Image.objects.count() == 2


def test_an_upload_said_to_be_too_large_is_not_read(client_api, dataset):
    response = client_api.generic(
        "POST",
        f"{calls.BASE}datasets/{dataset.pk}/images/",
        b"",
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH=str(3 * 1024**3),
    )

    calls.refused(response, 413, "too_large")
    assert Image.objects.count() == 2


def test_an_upload_repeated_with_its_key_is_answered_alike(client_api, client_user):
    dataset = factories.make_dataset(client_user, images=0)
    path = f"{calls.BASE}datasets/{dataset.pk}/images/"
    headers = {"Idempotency-Key": "k1"}

    first = client_api.post(path, {"files": [photo()]}, headers=headers)
    again = client_api.post(path, {"files": [photo()]}, headers=headers)
    other = client_api.post(path, {"files": [photo(color=(9, 9, 9))]}, headers=headers)

    assert first.status_code == 201
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    calls.refused(other, 409, "idempotency_key_reused")
    assert Image.objects.count() == 1
