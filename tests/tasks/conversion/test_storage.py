from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tasks.conversion import storage
from tasks.conversion.assembly import Assembly

SIZE = storage.HALVED_ELEMENTS_MIN


def make_model(weights: NDArray[np.float32]) -> ModelProto:
    assembly = Assembly()
    rows = weights.reshape(-1, 1, 1, 1)
    inputs = ["x", assembly.constant("w", rows), assembly.constant("b", np.zeros_like(weights))]
    assembly.node("Conv", inputs, "y")
    value = helper.make_tensor_value_info
    return assembly.model(
        "test",
        inputs=[value("x", TensorProto.FLOAT, [1, 1, 1, 1])],
        outputs=[value("y", TensorProto.FLOAT, [1, len(weights), 1, 1])],
    )


def stored(model: ModelProto) -> dict[str, NDArray[np.generic]]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_large_weights_become_float16_and_are_cast_back() -> None:
    halved = storage.store_half(make_model(np.full(SIZE, 0.1, np.float32)))

    onnx.checker.check_model(halved, full_check=True)
    constants = stored(halved)
    assert {name: array.dtype.name for name, array in constants.items()} == {
        "w/half": "float16",
        "b": "float32",
    }
    cast, conv = halved.graph.node
    assert (cast.op_type, list(cast.input), list(cast.output)) == ("Cast", ["w/half"], ["w"])
    assert list(conv.input) == ["x", "w", "b"]


def test_small_weights_stay_as_they_are() -> None:
    model = make_model(np.full(SIZE - 1, 0.1, np.float32))

    assert storage.store_half(model) == model


def test_the_given_model_is_not_changed() -> None:
    model = make_model(np.full(SIZE, 0.1, np.float32))
    before = model.SerializeToString(deterministic=True)

    storage.store_half(model)

    assert model.SerializeToString(deterministic=True) == before


@given(weight=st.floats(-65504, 65504, width=32))
def test_a_weight_moves_by_less_than_the_stated_bound(weight: float) -> None:
    halved = storage.store_half(make_model(np.full(SIZE, weight, np.float32)))

    kept = float(stored(halved)["w/half"].ravel()[0])
    assert abs(kept - weight) <= max(abs(weight) * 2**-11, 2**-25)


@pytest.mark.parametrize("weight", [65505.0, -1e6, np.inf, np.nan])
def test_a_weight_beyond_float16_is_refused(weight: float) -> None:
    weights = np.zeros(SIZE, np.float32)
    weights[-1] = weight

    with pytest.raises(storage.OutOfRange, match="'w' has a weight beyond float16"):
        storage.store_half(make_model(weights))
