"""What passes a room's wall follows from the graph and the contract."""

from __future__ import annotations

import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers import declarations
from workers.protocol.modelcheck import reading
from workers.protocol.modelcheck.refusals import Refused
from workers.room.tensors import TensorSpec

ELEMENTS = 16 * 1024 * 1024


def declare(content, contract):
    return declarations.declare(reading.read(content), contract)


def test_a_model_of_any_size_is_bounded_by_what_its_decoder_takes():
    declared = declare(models.make_detector(), builders.SSD)

    assert declared.inputs == (
        TensorSpec(
            name="image", dtypes=("uint8",), shape=(1, None, None, 3), bytes_max=512 * 1024**2
        ),
        TensorSpec(name="score_threshold", dtypes=("float32",), shape=(1,), bytes_max=4),
    )
    assert [(each.name, each.dtypes, each.shape, each.bytes_max) for each in declared.outputs] == [
        ("boxes", ("float32",), (None, None), 4 * ELEMENTS),
        ("scores", ("float32",), (None,), 4 * ELEMENTS),
        ("classes", ("int64",), (None,), 8 * ELEMENTS),
    ]


@pytest.mark.parametrize(
    ("content", "contract", "outputs"),
    [
        (builders.classifier(), builders.CLASSIFIER, {"out": (1, 3)}),
        (builders.yolo(), builders.YOLO, {"out": (1, 6, 16)}),
        (builders.detr(), builders.DETR, {"logits": (1, 5, 3), "boxes": (1, 5, 4)}),
    ],
    ids=["classify", "yolo", "detr"],
)
def test_a_model_of_one_size_is_held_to_the_shapes_found(content, contract, outputs):
    declared = declare(content, contract)

    assert [(each.name, each.shape, each.bytes_max) for each in declared.inputs] == [
        ("image", (1, 3, 32, 32), 4 * 3 * 32 * 32)
    ]
    assert {each.name: each.shape for each in declared.outputs} == outputs


def test_a_contract_for_another_graph_is_refused():
    with pytest.raises(Refused) as refused:
        declare(builders.classifier(), builders.DETR)

    assert refused.value.code == "output_missing"
