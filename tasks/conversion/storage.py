"""Store a model's weights in half the bytes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Depthwise kernels (8640 elements at most) and the narrow first layers stay exact: they
# are 1 % of the bytes and, halved, would move scores by 0.01 instead of 0.002.
HALVED_ELEMENTS_MIN: Final = 10_000
HALF_MAX: Final = float(np.finfo(np.float16).max)


class OutOfRange(ValueError):
    """A weight is too large for a float16."""


def store_half(model: ModelProto) -> ModelProto:
    """Return a copy that keeps large convolution weights as float16, computing in float32.

    Large is HALVED_ELEMENTS_MIN and more; biases, anchors and all else stay float32. Each
    is followed by a Cast that ONNX Runtime folds away when it loads the model, so running
    costs the same. A weight w moves by at most |w| * 2**-11, or by 2**-25 where it is
    below float16's normal range.

    Raises:
        OutOfRange: a weight exceeds 65504 or is not a number.
    """
    halved = ModelProto()
    halved.CopyFrom(model)
    weights = {node.input[1] for node in halved.graph.node if node.op_type == "Conv"}
    casts: list[NodeProto] = []
    for tensor in halved.graph.initializer:
        if tensor.name in weights and _is_large(tensor):
            name = tensor.name
            tensor.CopyFrom(_half(tensor))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved


def _is_large(tensor: TensorProto) -> bool:
    is_float = tensor.data_type == TensorProto.FLOAT
    return is_float and math.prod(tensor.dims) >= HALVED_ELEMENTS_MIN


def _half(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    if not np.all(np.abs(values) <= HALF_MAX):
        raise OutOfRange(f"{tensor.name!r} has a weight beyond float16")
    return numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}/half")
