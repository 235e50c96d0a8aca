"""The manifest and its contract: strict, and signed with the assignment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.workers.platform_double import make_reference
from tests.workers.protocol.modelcheck import builders
from workers.protocol import manifest, messages

URL = "http://localhost/m"


def test_a_reference_survives_the_wire_with_its_contract():
    reference = make_reference(b"x", URL, kind="classify", contract=builders.CLASSIFIER)

    again = messages.ModelReference.model_validate_json(reference.model_dump_json())

    assert again == reference
    assert again.contract.output_names == ("out",)


def test_a_reference_without_a_contract_is_the_built_in_detectors():
    reference = make_reference(b"x", URL)

    assert reference.contract == manifest.DETECTOR
    assert reference.contract.threshold_input == "score_threshold"


@pytest.mark.parametrize(("kind", "contract"), [
    ("classify", manifest.DETECTOR),
    ("detect", builders.CLASSIFIER),
])  # fmt: skip
def test_a_contract_for_another_kind_is_refused(kind, contract):
    with pytest.raises(ValidationError, match="another kind"):
        make_reference(b"x", URL, kind=kind, contract=contract)


def test_a_classifier_with_boxes_is_refused():
    with pytest.raises(ValidationError, match="goes with"):
        manifest.Contract(kind="classify")


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 32},
        {"width": 32, "height": 32},
        {"resize": "crop"},
        {"dtype": "uint8", "mean": (1.0, 0.0, 0.0)},
        {"std": (0.0, 1.0, 1.0), "dtype": "float32"},
        {"scale": float("nan"), "dtype": "float32"},
        {"name": "a b"},
        {"name": ""},
        {"layout": "CHW"},
        {"width": "32", "height": 32, "resize": "stretch"},
        {"code": "import os"},
    ],
)
def test_an_input_that_says_nonsense_is_refused(fields):
    with pytest.raises(ValidationError):
        manifest.PictureInput(**fields)
