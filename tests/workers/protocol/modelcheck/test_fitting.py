"""A manifest that does not fit its graph is refused with the tensor and the reason."""

from __future__ import annotations

import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers.protocol.manifest import Contract
from workers.protocol.modelcheck import fitting, reading
from workers.protocol.modelcheck.refusals import Refused

GOOD = {
    "classify": (builders.classifier(), builders.CLASSIFIER, [0, 1, 2]),
    "yolo": (builders.yolo(), builders.YOLO, [0, 1]),
    "detr": (builders.detr(), builders.DETR, [0, 1]),
    "ssd": (models.make_detector(), builders.SSD, [1, 17, 47]),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_model_that_fits_is_taken(name):
    data, contract, class_ids = GOOD[name]

    bounds = fitting.check(reading.read(data), contract, width=64, height=48)

    fitting.check_labels(contract, bounds, class_ids)
    assert set(contract.output_names) <= set(bounds.tensors)


def altered(contract: Contract, **changes) -> Contract:
    """Return the contract with `input__name=...` or `output__name=...` changed."""
    fields = contract.model_dump(mode="python")
    for path, value in changes.items():
        part, _, key = path.partition("__")
        fields[part][key] = value
    return Contract.model_validate(fields)


@pytest.mark.parametrize(
    ("name", "changes", "code", "tensor"),
    [
        ("classify", {"input__name": "picture"}, "input_missing", "picture"),
        ("classify", {"input__dtype": "float16"}, "input_type", "image"),
        ("classify", {"input__layout": "NHWC"}, "input_shape", "image"),
        ("classify", {"input__width": 64}, "input_shape", "image"),
        ("classify", {"output__output": "logits"}, "output_missing", "logits"),
        ("yolo", {"output__rows": True, "output__has_objectness": True}, "", ""),
        ("yolo", {"output__output": "nowhere"}, "output_missing", "nowhere"),
        ("detr", {"output__boxes": "logits", "output__logits": "boxes"}, "output_shape", "logits"),
        ("ssd", {"output__threshold_input": None}, "extra_input", "score_threshold"),
        ("ssd", {"output__threshold_input": "least"}, "input_missing", "least"),
        ("ssd", {"output__boxes": "scores"}, "output_shape", "scores"),
        ("ssd", {"output__scores": "classes"}, "output_type", "classes"),
    ],
)
def test_one_that_does_not_is_refused_with_the_tensor(name, changes, code, tensor):
    data, contract, _ = GOOD[name]
    graph = reading.read(data)
    if not code:  # rows of 16 cells read as scores: nothing in the shape is wrong
        assert fitting.check(graph, altered(contract, **changes), width=64, height=48)
        return

    with pytest.raises(Refused) as refused:
        fitting.check(graph, altered(contract, **changes), width=64, height=48)

    assert (refused.value.code, refused.value.tensor) == (code, tensor)


@pytest.mark.parametrize(
    ("name", "class_ids"),
    [
        ("classify", [0, 1]),
        ("classify", [1, 2, 3]),
        ("classify", [0, 1, 2, 3]),
        ("yolo", [0, 1, 2]),
        ("detr", [0, 2]),
    ],
)
def test_labels_must_fit_the_classes(name, class_ids):
    data, contract, _ = GOOD[name]
    bounds = fitting.check(reading.read(data), contract, width=64, height=48)

    with pytest.raises(Refused) as refused:
        fitting.check_labels(contract, bounds, class_ids)

    assert refused.value.code == "labels_mismatch"
