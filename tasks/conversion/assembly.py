"""An ONNX graph under construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET: Final = 13
IR_VERSION: Final = 8

Attribute = int | float | str | Sequence[int]


@dataclass(slots=True)
class Assembly:
    """Collects nodes and constants in order; every name is the caller's and used once."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        if name in self.constants:
            raise ValueError(f"constant {name!r} exists already")
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def scalar(self, name: str, value: float) -> str:
        """Add a float32 constant without dimensions and return its name."""
        return self.constant(name, np.array(value, dtype=np.float32))

    def indices(self, name: str, *values: int) -> str:
        """Add a one-dimensional int64 constant and return its name."""
        return self.constant(name, np.array(values, dtype=np.int64))

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """Add an operation and return the name of its one output."""
        node = helper.make_node(op, inputs, [output])
        node.attribute.extend(
            helper.make_attribute(key, value) for key, value in sorted(attributes.items())
        )
        self.nodes.append(node)
        return output

    def model(
        self, name: str, *, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> ModelProto:
        """Return all of it as a model of opset 13."""
        graph = helper.make_graph(
            self.nodes, name, inputs, outputs, initializer=list(self.constants.values())
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nodefolk",
        )
