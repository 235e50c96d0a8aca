"""Read a frozen TensorFlow graph without TensorFlow and without protobuf.

Field numbers: tensorflow/core/framework/{graph,node_def,attr_value}.proto. Only what the
conversion needs is decoded: names, inputs, integer lists, texts, and float32 tensors.
Everything else is skipped unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.conversion import limits, tensors
from workers.protocol import wire
from workers.protocol.wire import MalformedGraph

__all__ = ["GraphNode", "MalformedGraph", "read"]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One operation of the graph.

    `attributes` holds encoded AttrValue messages; the methods decode them on demand, so
    the thousands of nodes nobody asks about cost nothing. They raise MalformedGraph when
    the attribute is missing or of another type.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, memoryview]

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list(int) attribute."""
        found: list[int] = []
        for field in wire.fields(self._attribute(key, number=1).body()):
            if field.number == 3:
                room = limits.LIST_ELEMENTS_MAX - len(found)
                found += tensors.integer_list(field, count_max=room)
        return tuple(found)

    def text(self, key: str) -> str:
        """Return a string attribute."""
        return self._attribute(key, number=2).text()

    def floats(self, key: str) -> NDArray[np.float32]:
        """Return a tensor attribute of float32, read-only."""
        return tensors.floats(self._attribute(key, number=8).body())

    def _attribute(self, key: str, *, number: int) -> wire.Field:
        if key not in self.attributes:
            raise MalformedGraph(f"node {self.name!r} has no attribute {key!r}")
        last = None
        for field in wire.fields(self.attributes[key]):
            last = field
        if last is None or last.number != number:
            raise MalformedGraph(f"attribute {key!r} of {self.name!r} has another type")
        return last


def read(data: bytes | memoryview) -> dict[str, GraphNode]:
    """Read a GraphDef into its nodes by name, in file order.

    Tensors stay views into `data`, so it lives as long as they do.

    Raises:
        MalformedGraph: the bytes are no GraphDef, or exceed a bound of `limits`.
    """
    view = memoryview(data).cast("B")
    if len(view) > limits.GRAPH_BYTES_MAX:
        raise MalformedGraph(f"graph of {len(view)} bytes")
    nodes: dict[str, GraphNode] = {}
    for field in wire.fields(view):
        if field.number != 1:
            continue
        node = _node(field.body())
        if node.name in nodes:
            raise MalformedGraph(f"two nodes are named {node.name!r}")
        if len(nodes) == limits.GRAPH_NODES_MAX:
            raise MalformedGraph(f"more than {limits.GRAPH_NODES_MAX} nodes")
        nodes[node.name] = node
    return nodes


def _node(body: memoryview) -> GraphNode:
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, memoryview] = {}
    for field in wire.fields(body):
        match field.number:
            case 1:
                name = field.text()
            case 2:
                op = field.text()
            case 3:
                inputs.append(field.text())
            case 5:
                key, value = _entry(field.body())
                attributes[key] = value
    if not name or not op:
        raise MalformedGraph("a node has no name or no operation")
    if len(inputs) > limits.NODE_INPUTS_MAX or len(attributes) > limits.NODE_ATTRIBUTES_MAX:
        raise MalformedGraph(f"node {name!r} has too many inputs or attributes")
    return GraphNode(name, op, tuple(inputs), attributes)


def _entry(body: memoryview) -> tuple[str, memoryview]:
    key, value = "", memoryview(b"")
    for field in wire.fields(body):
        if field.number == 1:
            key = field.text()
        elif field.number == 2:
            value = field.body()
    return key, value
