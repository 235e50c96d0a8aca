"""A client's own model: checked, tried, kept for its owner alone."""

from __future__ import annotations

import json

import pytest

from tasks import catalog, uploads
from tasks.models import Blob, CatalogModel
from tests.tasks import own_models
from tests.workers.protocol.modelcheck import builders, hostile

pytestmark = pytest.mark.slow


def upload(owner, now, *, data=None, **changes):
    return uploads.upload(
        owner_id=owner.pk,
        data=builders.classifier() if data is None else data,
        manifest_text=json.dumps(own_models.manifest(**changes)),
        now=now,
    )


def test_a_good_model_is_kept_private_with_its_report(client_user, stranger, now):
    model = upload(client_user, now)

    assert (model.owner, model.visibility, model.kind) == (client_user, "private", "classify")
    assert (model.name, model.slug, model.licence) == ("Pets", "pets", "MIT")
    assert catalog.contract(model) == builders.CLASSIFIER
    assert model.check_report["operators"] == 6
    assert model.check_report["quantisation"] == "float32"
    assert model.image_ms == model.check_report["image_ms"]
    assert list(catalog.usable_by(client_user.pk)) == [model]
    assert list(catalog.usable_by(stranger.pk)) == []
    assert list(catalog.offered()) == []
    reference = catalog.reference(model, audience="n", expires_at=now)
    assert (reference.origin, reference.class_ids) == ("client", [0, 1, 2])


def test_the_same_name_again_is_a_new_version_and_a_strangers_stays(client_user, stranger, now):
    theirs = upload(stranger, now)
    first = upload(client_user, now)

    second = upload(client_user, now, version="2")

    assert list(catalog.usable_by(client_user.pk)) == [second]
    assert list(catalog.usable_by(stranger.pk)) == [theirs]
    assert first.blob_id == second.blob_id


@pytest.mark.parametrize(
    ("data", "changes", "code"),
    [
        (hostile.MODELS["Loop"][0], {}, "subgraph"),
        (hostile.MODELS["doubling"][0], {}, "tensor_too_large"),
        (None, {"labels": {"0": "cat"}}, "labels_mismatch"),
        (None, {"output": {"decoder": "classify", "output": "gone"}}, "output_missing"),
        (builders.classifier(logits=True), {}, "output_out_of_range"),
        (b"", {}, "not_onnx"),
    ],
)
def test_one_that_is_refused_leaves_nothing(client_user, now, data, changes, code):
    with pytest.raises(uploads.ModelRefused) as refused:
        upload(client_user, now, data=data, **changes)

    assert (refused.value.code, refused.value.field) == (code, "file")
    assert (CatalogModel.objects.count(), Blob.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"kind": "guess"}, "kind"),
        ({"labels": {}}, "labels"),
        ({"labels": {"0": "cat", "1": "cat"}}, "labels"),
        ({"labels": {"01": "cat"}}, "labels"),
        ({"labels": {"0": "a\nb"}}, "labels"),
        ({"name": ""}, "name"),
        ({"extra": 1}, "extra"),
        ({"input": {"width": 32}}, "input"),
        ({"input": {"width": 32, "height": 32}}, "input"),
        ({"input": {"scale": 0.5}}, "input"),
        ({"input": {"width": 4096, "height": 32, "resize": "crop"}}, "input.width"),
        ({"output": {"decoder": "exec", "output": "o"}}, "output"),
        ({"output": {"decoder": "ssd"}}, "manifest"),
    ],
)
def test_a_bad_manifest_names_the_place(changes, place):
    with pytest.raises(uploads.BadManifest) as refused:
        uploads.read_manifest(json.dumps(own_models.manifest(**changes)))

    assert refused.value.detail.startswith(place)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff", '{"name": NaN}'])
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(uploads.BadManifest):
        uploads.read_manifest(text)


def test_a_manifest_of_megabytes_is_refused_unread():
    with pytest.raises(uploads.BadManifest, match="at most"):
        uploads.read_manifest(" " * (uploads.MANIFEST_BYTES_MAX + 1))


def test_a_client_keeps_a_bounded_number(client_user, now, monkeypatch):
    monkeypatch.setattr(uploads, "MODELS_MAX", 1)
    kept = upload(client_user, now)

    with pytest.raises(uploads.TooManyModels):
        upload(client_user, now)

    assert CatalogModel.objects.get() == kept
