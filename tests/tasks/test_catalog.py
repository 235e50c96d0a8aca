"""The models on offer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks import blobs, catalog
from tasks.models import Blob, CatalogModel
from tests import factories
from workers.protocol import manifest

CARD = catalog.Card(
    slug="tiny",
    name="Tiny detector",
    version="1",
    labels={"1": "person", "17": "cat"},
    licence="Apache-2.0",
    source="test",
    contract=manifest.DETECTOR,
    image_ms=40,
)


def test_a_registered_model_is_offered_with_all_that_is_said_of_it(db, now):
    model = catalog.register(card=CARD, data=b"graph", now=now)

    assert list(catalog.offered()) == [model]
    model.refresh_from_db()
    assert (model.kind, model.slug, model.name, model.version) == (
        "detect",
        "tiny",
        "Tiny detector",
        "1",
    )
    assert (model.labels, catalog.contract(model)) == (CARD.labels, manifest.DETECTOR)
    assert (model.owner_id, model.visibility) == (None, "public")
    assert (model.licence, model.source, model.image_ms) == ("Apache-2.0", "test", 40)
    assert model.created_at == now
    assert blobs.read(model.blob_id) == b"graph"


def test_the_same_model_again_is_the_same_row_unchanged(db, now):
    first = catalog.register(card=CARD, data=b"graph", now=now)

    again = catalog.register(
        card=replace(CARD, name="Other", image_ms=99), data=b"graph", now=now + timedelta(days=1)
    )

    assert again == first
    assert (again.name, again.image_ms) == ("Tiny detector", 40)
    assert (CatalogModel.objects.count(), Blob.objects.count()) == (1, 1)


def test_a_new_version_takes_the_place_of_the_earlier_one(db, now):
    other = catalog.register(card=replace(CARD, slug="other"), data=b"graph", now=now)
    old = catalog.register(card=CARD, data=b"graph", now=now)

    new = catalog.register(card=replace(CARD, version="2"), data=b"graph 2", now=now)

    assert set(catalog.offered()) == {other, new}
    old.refresh_from_db()
    assert (old.is_offered, old.version) == (False, "1")


def test_a_withdrawn_model_does_not_come_back_by_registering_it_again(db, now):
    model = catalog.register(card=CARD, data=b"graph", now=now)
    CatalogModel.objects.update(is_offered=False)

    assert catalog.register(card=CARD, data=b"graph", now=now) == model
    assert list(catalog.offered()) == []


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({}, b""),
        ({"labels": {}}, b"graph"),
        ({"labels": {"one": "person"}}, b"graph"),
        ({"labels": {"-1": "person"}}, b"graph"),
        ({"labels": {"01": "person"}}, b"graph"),
        ({"labels": {"100000": "person"}}, b"graph"),
        ({"labels": {"1": ""}}, b"graph"),
        ({"labels": {"1": "x" * 101}}, b"graph"),
        ({"labels": {"1": "person", "2": "person"}}, b"graph"),
        ({"labels": {str(number): f"{number}" for number in range(10_001)}}, b"graph"),
    ],
)
def test_a_model_that_cannot_be_offered_is_refused(db, now, change, data):
    with pytest.raises(catalog.BadModel) as refused:
        catalog.register(card=replace(CARD, **change), data=data, now=now)

    assert refused.value.code == "invalid_model"
    assert (CatalogModel.objects.count(), Blob.objects.count()) == (0, 0)


def test_a_model_of_too_many_bytes_is_refused(db, now, monkeypatch):
    monkeypatch.setattr(catalog.limits, "MODEL_BYTES_MAX", 4)

    with pytest.raises(catalog.BadModel):
        catalog.register(card=CARD, data=b"graph", now=now)

    assert (CatalogModel.objects.count(), Blob.objects.count()) == (0, 0)


def test_models_are_offered_by_name_and_by_kind(db, now):
    second = catalog.register(card=replace(CARD, name="B"), data=b"b", now=now)
    classifies = manifest.Contract(
        kind="classify", output=manifest.Classes(decoder="classify", output="o")
    )
    classifier = replace(CARD, name="C", slug="c", contract=classifies)
    third = catalog.register(card=classifier, data=b"c", now=now)
    first = catalog.register(card=replace(CARD, name="A", slug="a"), data=b"a", now=now)

    assert list(catalog.offered()) == [first, second, third]
    assert list(catalog.offered("detect")) == [first, second]
    assert list(catalog.offered("train")) == []


def test_a_node_is_told_what_it_needs_and_a_link_of_its_own(db, now):
    model = factories.make_model(labels={"17": "cat", "2": "bicycle"})

    reference = catalog.reference(model, audience="node_1", expires_at=now)

    assert (reference.digest, reference.size_bytes) == (model.blob_id, model.blob.size_bytes)
    assert (reference.kind, reference.class_ids) == ("detect", [2, 17])
    assert (reference.origin, reference.contract) == ("built_in", manifest.DETECTOR)
    assert reference.url == blobs.sign_url(digest=model.blob_id, audience="node_1", expires_at=now)
