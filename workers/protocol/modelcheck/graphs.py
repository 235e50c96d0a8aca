"""What is kept of a model after reading: data flow, shapes, small constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.protocol.modelcheck.refusals import Refused

#: onnx.TensorProto.DataType -> numpy type; others are refused.
DTYPES: Final[Mapping[int, type[np.generic]]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}
#: Operators that compute with 8-bit integers; weights alone kept so are computed as floats.
_8_BIT: Final = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """A weight; `value` is kept only when it is small."""

    dtype: int
    shape: tuple[int, ...]
    value: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator; `attributes` hold int, float, str, tuples of them, or a `Tensor`."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def integer(self, key: str, default: int) -> int:
        """Return an integer attribute."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int):
            raise self.bad(key)
        return value

    def integers(self, key: str) -> tuple[int, ...] | None:
        """Return a list of integers, or None when it is not there."""
        value = self.attributes.get(key)
        if value is None:
            return None
        if not isinstance(value, tuple) or not all(isinstance(each, int) for each in value):
            raise self.bad(key)
        return value

    def text(self, key: str, default: str) -> str:
        """Return a text attribute."""
        value = self.attributes.get(key, default)
        if not isinstance(value, str):
            raise self.bad(key)
        return value

    def bad(self, key: str) -> Refused:
        """Return the refusal of one of its attributes."""
        return Refused("bad_attribute", f"{self.op} cannot have this {key}", tensor=self.name)


@dataclass(frozen=True, slots=True)
class End:
    """An input or output of the graph; a dimension is None when the file leaves it open."""

    dtype: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """A model of nothing but plain data flow."""

    ir_version: int
    opset: int
    size_bytes: int
    nodes: Sequence[Node]
    #: What must be fed, in order; weights that are listed as inputs, too, are left out.
    inputs: Mapping[str, End]
    outputs: Mapping[str, End]
    weights: Mapping[str, Tensor]

    @property
    def is_8_bit(self) -> bool:
        """Whether it computes with 8-bit integers, in which processors differ."""
        return any(node.op in _8_BIT for node in self.nodes)

    @property
    def quantisation(self) -> str:
        """What the numbers depend on: int8, float16 or float32."""
        if self.is_8_bit:
            return "int8"
        halves = any(weight.dtype == 10 for weight in self.weights.values())
        return "float16" if halves else "float32"
