"""Read the part of a TensorFlow Lite file that the classifier's conversion needs.

Field numbers and codes: tensorflow/lite/schema/schema.fbs, version 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.conversion import flatbuffer, limits
from tasks.conversion.flatbuffer import Table
from workers.protocol.wire import MalformedGraph

SCHEMA_VERSION: Final = 3
#: BuiltinOperator codes of the operators that are known here.
OPERATORS: Final[Mapping[int, str]] = {
    0: "ADD",
    1: "AVERAGE_POOL_2D",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    9: "FULLY_CONNECTED",
    22: "RESHAPE",
    25: "SOFTMAX",
    114: "QUANTIZE",
}
#: TensorType codes.
TYPES: Final[Mapping[int, type[np.generic]]] = {2: np.int32, 3: np.uint8, 9: np.int8}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: shape, how its integers stand for numbers, and its values if constant."""

    shape: tuple[int, ...]
    kind: type[np.generic]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    values: NDArray[np.generic] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; inputs and outputs are indices of tensors."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None

    def option(self, number: int, code: str = "<i", default: int = 0) -> int:
        """Return a scalar of the operator's options."""
        return default if self.options is None else self.options.integer(number, code, default)


@dataclass(frozen=True, slots=True)
class LiteGraph:
    """The only subgraph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: int
    output: int


def read(data: bytes | memoryview) -> LiteGraph:
    """Read a file of one graph with one input and one output.

    Raises:
        MalformedGraph: broken bytes, a part that is not known here, or too many of them.
    """
    if len(data) > limits.GRAPH_BYTES_MAX:
        raise MalformedGraph(f"file of {len(data)} bytes")
    model = flatbuffer.root(data)
    if model.integer(0, "<I") != SCHEMA_VERSION:
        raise MalformedGraph("another schema version")
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise MalformedGraph(f"{len(graphs)} graphs")
    codes = [max(each.integer(0, "<b"), each.integer(3)) for each in model.tables(1)]
    buffers = model.tables(4)
    inputs, outputs = graphs[0].integers(1), graphs[0].integers(2)
    if len(inputs) != 1 or len(outputs) != 1:
        raise MalformedGraph("more than one input or output")
    tensors = graphs[0].tables(0)
    operators = graphs[0].tables(3)
    if max(len(tensors), len(operators)) > limits.GRAPH_NODES_MAX:
        raise MalformedGraph("too many tensors or operators")
    return LiteGraph(
        tensors=tuple(_tensor(each, buffers) for each in tensors),
        operators=tuple(_operator(each, codes, len(tensors)) for each in operators),
        input=inputs[0],
        output=outputs[0],
    )


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    code = table.integer(1, "<b")
    if code not in TYPES:
        raise MalformedGraph(f"a tensor of type {code}")
    shape = table.integers(0)
    if min(shape, default=0) < 0 or math.prod(shape) > limits.TENSOR_ELEMENTS_MAX:
        raise MalformedGraph(f"a tensor of shape {shape}")
    place = table.integer(2, "<I")
    if place >= len(buffers):
        raise MalformedGraph("a tensor whose bytes are missing")
    quantisation = table.table(4)
    return Tensor(
        shape=shape,
        kind=TYPES[code],
        scales=quantisation.floats(2) if quantisation else (),
        zero_points=quantisation.integers(3, "q") if quantisation else (),
        values=_values(buffers[place].raw(0), shape, TYPES[code]),
    )


def _values(
    data: memoryview, shape: tuple[int, ...], kind: type[np.generic]
) -> NDArray[np.generic] | None:
    if not len(data):
        return None
    if len(data) != math.prod(shape) * np.dtype(kind).itemsize:
        raise MalformedGraph(f"{len(data)} bytes for a tensor of shape {shape}")
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).reshape(shape)


def _operator(table: Table, codes: list[int], tensors: int) -> Operator:
    place = table.integer(0, "<I")
    if place >= len(codes) or codes[place] not in OPERATORS:
        raise MalformedGraph("an operator that is not known")
    inputs, outputs = table.integers(1), table.integers(2)
    if not all(0 <= each < tensors for each in (*inputs, *outputs)):
        raise MalformedGraph("an operator of tensors that are not there")
    return Operator(OPERATORS[codes[place]], inputs, outputs, table.table(4))
