"""Read an ONNX file without onnx and without protobuf, and refuse what is not plain data flow.

Field numbers: onnx/onnx.proto3 (IR version 11). Stricter than the official parsers, so that
no runtime can see in a file what this did not: unknown fields and parts given twice (which
protobuf would merge) are refused. Nothing here recurses, so depth costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from workers.protocol import limits as sizes
from workers.protocol import wire
from workers.protocol.modelcheck import limits, operators, weights
from workers.protocol.modelcheck.graphs import DTYPES, End, Graph, Node
from workers.protocol.modelcheck.refusals import Refused

#: Domains that mean the standard operators.
STANDARD: Final = ("", "ai.onnx")
#: AttributeProto.AttributeType that is taken -> the field that holds the value.
_SINGLE: Final = {1: 2, 2: 3, 3: 4, 4: 5}
_LISTS: Final = {6: 7, 7: 8, 8: 9}
_SUBGRAPHS: Final = {6, 11}
_SPARSE: Final = {22, 23}


@dataclass(slots=True)
class _Budget:
    """Counts the fields read of one file."""

    left: int = limits.FIELDS_MAX

    def fields(self, body: memoryview) -> Iterator[wire.Field]:
        for each in wire.fields(body):
            self.left -= 1
            if self.left < 0:
                raise Refused("too_many_fields", f"more than {limits.FIELDS_MAX}")
            yield each


@dataclass(slots=True)
class _Body:
    """The parts of one message: single ones by number, repeated ones in order."""

    single: dict[int, wire.Field] = field(default_factory=dict)
    many: dict[int, list[wire.Field]] = field(default_factory=dict)

    def text(self, number: int) -> str:
        return self.single[number].text() if number in self.single else ""

    def unsigned(self, number: int) -> int:
        return self.single[number].unsigned() if number in self.single else 0


def read(data: bytes | memoryview) -> Graph:
    """Read a model; takes about a second for 20,000 operators, whatever its weights.

    Raises:
        Refused.
    """
    view = memoryview(data).cast("B")
    if len(view) > sizes.MODEL_BYTES_MAX:
        raise Refused("too_large", f"{len(view)} bytes")
    try:
        return _model(view, _Budget())
    except wire.MalformedGraph as exc:
        raise Refused("not_onnx", str(exc)) from exc


def _parts(
    budget: _Budget, body: memoryview, *, single: set[int], many: set[int], what: str
) -> _Body:
    """Sort the fields of a message; refuse unknown and doubled ones."""
    parts = _Body()
    for each in budget.fields(body):
        if each.number in many:
            parts.many.setdefault(each.number, []).append(each)
        elif each.number not in single:
            raise Refused("unknown_field", f"{what} has a field {each.number}")
        elif each.number in parts.single:
            raise Refused("repeated_field", f"{what} has field {each.number} twice")
        else:
            parts.single[each.number] = each
    return parts


def _model(view: memoryview, budget: _Budget) -> Graph:
    parts = _parts(
        budget, view, single={1, 2, 3, 4, 5, 6, 7}, many={8, 14, 20, 25, 26}, what="the model"
    )
    if 7 not in parts.single or 1 not in parts.single:
        raise Refused("not_onnx", "no graph in it")
    for number, code in ((25, "local_functions"), (20, "training_info"), (26, "unknown_field")):
        if number in parts.many:
            raise Refused(code, f"{len(parts.many[number])} of them")
    version = parts.unsigned(1)
    if version not in limits.IR_VERSIONS:
        raise Refused("bad_ir_version", f"version {version}")
    opset = _opset(parts.many.get(8, []), budget)
    return _graph(parts.single[7].body(), budget, ir_version=version, opset=opset, size=len(view))


def _opset(imports: list[wire.Field], budget: _Budget) -> int:
    versions = {}
    for each in imports:
        parts = _parts(budget, each.body(), single={1, 2}, many=set(), what="an opset")
        domain = parts.text(1)
        if domain not in STANDARD:
            raise Refused("foreign_domain", f"operators of {domain!r}")
        if "" in versions:
            raise Refused("repeated_field", "two versions of the standard operators")
        versions[""] = parts.unsigned(2)
    opset = versions.get("", 0)
    if opset not in limits.OPSETS:
        raise Refused("bad_opset", f"version {opset}")
    return opset


def _graph(body: memoryview, budget: _Budget, *, ir_version: int, opset: int, size: int) -> Graph:
    parts = _parts(
        budget, body, single={2, 10}, many={1, 5, 11, 12, 13, 14, 15, 16}, what="the graph"
    )
    if 15 in parts.many:
        raise Refused("sparse_tensor", "a sparse weight")
    _check_counts(parts)
    kept = {}
    for each in parts.many.get(5, []):
        name, tensor = weights.read(budget.fields, each.body())
        if not name or name in kept:
            raise Refused("name_repeated", "two weights, or one without a name", tensor=name)
        kept[name] = tensor
    nodes = [_node(each.body(), budget, place) for place, each in enumerate(parts.many.get(1, []))]
    inputs = _ends(parts.many.get(11, []), budget)
    outputs = _ends(parts.many.get(12, []), budget)
    graph = Graph(
        ir_version=ir_version,
        opset=opset,
        size_bytes=size,
        nodes=nodes,
        inputs={name: end for name, end in inputs.items() if name not in kept},
        outputs=outputs,
        weights=kept,
    )
    _check_flow(graph)
    return graph


def _check_counts(parts: _Body) -> None:
    if len(parts.many.get(1, [])) > limits.NODES_MAX:
        raise Refused("too_many_nodes", f"{len(parts.many[1])} operators")
    if len(parts.many.get(5, [])) > limits.INITIALIZERS_MAX:
        raise Refused("too_many_tensors", f"{len(parts.many[5])} weights")
    # Old exports list each weight as an input as well.
    if len(parts.many.get(11, [])) > limits.INITIALIZERS_MAX + limits.ENDS_MAX:
        raise Refused("too_many_tensors", f"{len(parts.many[11])} inputs")
    if not 0 < len(parts.many.get(12, [])) <= limits.ENDS_MAX:
        raise Refused("too_many_tensors", f"{len(parts.many.get(12, []))} outputs")


def _check_flow(graph: Graph) -> None:
    """Check that each tensor is made once, before it is used."""
    if len(graph.inputs) > limits.ENDS_MAX:
        raise Refused("too_many_tensors", f"{len(graph.inputs)} inputs")
    made = set(graph.weights) | set(graph.inputs)
    for node in graph.nodes:
        for name in filter(None, node.inputs):
            if name not in made:
                raise Refused("name_missing", f"{node.op} uses it too early", tensor=name)
        for name in filter(None, node.outputs):
            if name in made:
                raise Refused("name_repeated", f"{node.op} makes it again", tensor=name)
            made.add(name)
    for name in graph.outputs:
        if name not in made:
            raise Refused("name_missing", "an output that nothing makes", tensor=name)


def _node(body: memoryview, budget: _Budget, place: int) -> Node:
    parts = _parts(budget, body, single={3, 4, 6, 7, 8}, many={1, 2, 5, 9}, what="an operator")
    op, domain = parts.text(4), parts.text(7)
    name = parts.text(3) or f"{op} {place}"
    if domain not in STANDARD:
        raise Refused("foreign_domain", f"{op} of {domain!r}", tensor=name)
    if parts.text(8):
        raise Refused("local_functions", f"{op} is an overload", tensor=name)
    listed = [parts.many.get(number, []) for number in (1, 2, 5)]
    if max(len(listed[0]), len(listed[1])) > limits.NODE_INPUTS_MAX:
        raise Refused("bad_attribute", f"{op} has too many inputs or outputs", tensor=name)
    if len(listed[2]) > limits.NODE_ATTRIBUTES_MAX:
        raise Refused("bad_attribute", f"{op} has too many attributes", tensor=name)
    attributes: dict[str, Any] = {}
    for each in listed[2]:
        key, value = _attribute(each.body(), budget, name)
        if not key or key in attributes:
            raise Refused("bad_attribute", f"{op} has {key!r} twice", tensor=name)
        attributes[key] = value
    operators.check_name(op, name)
    inputs, outputs = (tuple(each.text() for each in found) for found in listed[:2])
    return Node(op, name, inputs, outputs, attributes)


def _attribute(body: memoryview, budget: _Budget, node: str) -> tuple[str, Any]:
    parts = _parts(
        budget,
        body,
        single={1, 2, 3, 4, 5, 6, 13, 14, 20, 21, 22},
        many={7, 8, 9, 10, 11, 15, 23},
        what="an attribute",
    )
    present = set(parts.single) | set(parts.many)
    key, kind = parts.text(1), parts.unsigned(20)
    if present & _SUBGRAPHS:
        raise Refused("subgraph", f"in the attribute {key!r}", tensor=node)
    if present & _SPARSE:
        raise Refused("sparse_tensor", f"in the attribute {key!r}", tensor=node)
    if present & {10, 14, 15, 21}:
        raise Refused("bad_attribute", f"{key!r} has a type that is not taken", tensor=node)
    wanted = _SINGLE.get(kind) or _LISTS.get(kind)
    if wanted is None or not (present - {1, 13, 20}) <= {wanted}:
        raise Refused("bad_attribute", f"{key!r} does not have the type it says", tensor=node)
    if kind in _LISTS:
        return key, _list(kind, parts.many.get(wanted, []))
    return key, _single(kind, parts.single.get(wanted), budget)


def _single(kind: int, value: wire.Field | None, budget: _Budget) -> Any:
    """Return the value; what protobuf leaves out is zero."""
    match kind:
        case 1:
            return _float(value.raw()) if value else 0.0
        case 2:
            return value.signed() if value else 0
        case 3:
            return value.text() if value else ""
        case _:
            if value is None:
                raise Refused("bad_attribute", "an empty tensor")
            return weights.read(budget.fields, value.body())[1]


def _list(kind: int, found: list[wire.Field]) -> tuple[Any, ...]:
    values: list[Any] = []
    for each in found:
        if kind == 8:
            values.append(each.text())
        elif kind == 7:
            single = each.kind is wire.Kind.VARINT
            numbers = [each.unsigned()] if single else wire.varints(each.body())
            for number in numbers:
                values.append(wire.signed(number))
                _check_length(values)
        else:
            raw = bytes(each.raw())
            if len(raw) % 4 or len(raw) > 4 * limits.LIST_MAX:
                raise Refused("bad_attribute", "floats cut off, or too many")
            values += struct.unpack(f"<{len(raw) // 4}f", raw)
        _check_length(values)
    return tuple(values)


def _check_length(values: list[Any]) -> None:
    if len(values) > limits.LIST_MAX:
        raise Refused("bad_attribute", f"a list of more than {limits.LIST_MAX}")


def _float(raw: memoryview) -> float:
    if len(raw) != 4:
        raise Refused("bad_attribute", "a float of another length")
    return float(struct.unpack("<f", raw)[0])


def _ends(found: list[wire.Field], budget: _Budget) -> dict[str, End]:
    ends: dict[str, End] = {}
    for each in found:
        parts = _parts(budget, each.body(), single={1, 2, 3}, many={4}, what="a tensor's type")
        name = parts.text(1)
        if not name or name in ends:
            raise Refused("name_repeated", "an input or output", tensor=name)
        if 2 not in parts.single:
            raise Refused("bad_type", "no type given", tensor=name)
        ends[name] = _end(parts.single[2].body(), budget, name)
    return ends


def _end(body: memoryview, budget: _Budget, name: str) -> End:
    parts = _parts(budget, body, single={1, 4, 5, 6, 7, 8, 9}, many=set(), what="a type")
    if set(parts.single) - {6} != {1}:
        raise Refused("bad_type", "not a plain tensor", tensor=name)
    inner = _parts(budget, parts.single[1].body(), single={1, 2}, many=set(), what="a type")
    dtype = inner.unsigned(1)
    if dtype not in DTYPES:
        raise Refused("bad_type", f"type {dtype}", tensor=name)
    shape = _dimensions(inner.single[2].body(), budget, name) if 2 in inner.single else None
    return End(dtype, shape)


def _dimensions(body: memoryview, budget: _Budget, name: str) -> tuple[int | None, ...]:
    parts = _parts(budget, body, single=set(), many={1}, what="a shape")
    found: list[int | None] = []
    for each in parts.many.get(1, []):
        dim = _parts(budget, each.body(), single={1, 2, 3}, many=set(), what="a dimension")
        size = dim.single[1].signed() if 1 in dim.single else None
        if size is not None and size < 0:
            raise Refused("bad_shape", f"a dimension of {size}", tensor=name)
        found.append(size or None)
    if len(found) > limits.DIMENSIONS_MAX:
        raise Refused("bad_shape", f"{len(found)} dimensions", tensor=name)
    return tuple(found)
