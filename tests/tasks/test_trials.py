"""A model is tried in a process of its own, and only a code comes back."""

from __future__ import annotations

import pytest

from tasks import model_process, trials
from tests.workers import models
from tests.workers.protocol.modelcheck import builders, hostile
from workers.protocol import digests, messages
from workers.protocol.manifest import Contract

pytestmark = pytest.mark.slow


def reference(data: bytes, contract: Contract, class_ids) -> messages.ModelReference:
    return messages.ModelReference(
        digest=digests.digest(data),
        size_bytes=len(data),
        url="http://localhost/",
        kind=contract.kind,
        origin="client",
        contract=contract,
        class_ids=class_ids,
    )


@pytest.mark.parametrize(
    ("data", "contract", "class_ids"),
    [
        (builders.classifier(), builders.CLASSIFIER, [0, 1, 2]),
        (builders.yolo(), builders.YOLO, [0, 1]),
        (builders.detr(), builders.DETR, [0, 1]),
        (models.make_detector(), builders.SSD, [1, 17, 47]),
    ],
    ids=["classify", "yolo", "detr", "ssd"],
)
def test_a_good_model_is_measured(data, contract, class_ids):
    trial = trials.run(data, reference(data, contract, class_ids))

    assert 1 <= trial.image_ms < 5000
    assert 10**7 < trial.memory_bytes < 2 * 10**9
    assert trial.numeric_class.startswith("ort-")


@pytest.mark.parametrize(
    ("data", "contract", "class_ids", "code"),
    [
        (hostile.constant_bomb(), builders.CLASSIFIER, [0, 1, 2], "trial_failed"),
        (builders.classifier(logits=True), builders.CLASSIFIER, [0, 1, 2], "output_out_of_range"),
        (models.make_detector(scores=(0.9, 7.0)), builders.SSD, [1], "output_out_of_range"),
        (models.make_detector(scores=(0.9, float("nan"))), builders.SSD, [1], "output_not_finite"),
        (builders.classifier(), builders.CLASSIFIER, [0, 1], "output_shape"),
    ],
)
def test_one_that_misbehaves_is_refused_with_a_code(data, contract, class_ids, code):
    with pytest.raises(trials.TrialFailed) as failed:
        trials.run(data, reference(data, contract, class_ids))

    assert failed.value.code == code


def test_a_hanging_model_is_ended(monkeypatch):
    monkeypatch.setattr(trials, "SECONDS_MAX", 0.01)
    data = builders.classifier()

    with pytest.raises(trials.TrialFailed) as failed:
        trials.run(data, reference(data, builders.CLASSIFIER, [0, 1, 2]))

    assert failed.value.code == "trial_timeout"


def test_a_process_that_dies_is_a_crash(monkeypatch):
    monkeypatch.setattr(model_process.sys, "executable", "/bin/false")
    data = builders.classifier()

    with pytest.raises(trials.TrialFailed) as failed:
        trials.run(data, reference(data, builders.CLASSIFIER, [0, 1, 2]))

    assert failed.value.code == "trial_crashed"


def test_a_slow_model_is_refused(monkeypatch):
    monkeypatch.setattr(trials, "IMAGE_MS_MAX", 0)
    data = builders.classifier()

    with pytest.raises(trials.TrialFailed) as failed:
        trials.run(data, reference(data, builders.CLASSIFIER, [0, 1, 2]))

    assert failed.value.code == "too_slow"


def test_an_upload_waits_only_so_long_for_its_turn(monkeypatch):
    monkeypatch.setattr(trials, "WAIT_SECONDS_MAX", 0.01)
    data = builders.classifier()
    with trials._turns, pytest.raises(trials.Busy):
        trials.run(data, reference(data, builders.CLASSIFIER, [0, 1, 2]))
