"""Models made to hurt: each is refused before a runtime sees it, with a code of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    TensorProto,
    helper,
    numpy_helper,
)

VALUE = helper.make_tensor_value_info


def model(
    nodes, *, weights=(), inputs=None, outputs=None, opset=13, ir_version=9, **fields
) -> ModelProto:
    """Return a model of `image` (1, 3, 32, 32) float32 -> `out`, unchecked."""
    graph = helper.make_graph(
        nodes,
        "g",
        inputs or [VALUE("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        outputs or [VALUE("out", TensorProto.FLOAT, None)],
        list(weights),
    )
    opsets = fields.pop("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **fields)


def numbers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(op: str, *inputs: str, out: str = "out", **attributes):
    return helper.make_node(op, list(inputs), [out], **attributes)


def good() -> ModelProto:
    return model([node("Relu", "image")])


def constant_bomb() -> bytes:
    """A terabyte out of 30 bytes, made as soon as a runtime folds constants."""
    return model(
        [node("ConstantOfShape", "n", out="c"), node("ReduceSum", "c", out="out")],
        weights=[numbers("n", 10**6, 10**6)],
    ).SerializeToString()


def _doubling() -> ModelProto:
    nodes, last = [], "image"
    for step in range(24):
        nodes.append(node("Concat", last, last, out=f"c{step}", axis=0))
        last = f"c{step}"
    return model([*nodes, node("Identity", last)])


def _many_middling() -> ModelProto:
    nodes = [node("Tile", "image", "n", out="t0")]
    nodes += [node("Relu", f"t{step}", out=f"t{step + 1}") for step in range(40)]
    return model([*nodes, node("Identity", "t40")], weights=[numbers("n", 1, 1, 192, 192)])


def _work() -> ModelProto:
    big = numpy_helper.from_array(np.zeros((1, 1), np.float32), "z")
    nodes = [
        node("Expand", "z", "n", out="a"),
        *[node("MatMul", "a", "a", out=f"m{step}") for step in range(4)],
        node("Identity", "m3"),
    ]
    return model(nodes, weights=[big, numbers("n", 8000, 8000)])


def _body() -> GraphProto:
    return helper.make_graph([], "body", [], [VALUE("out", TensorProto.FLOAT, None)])


def _if() -> ModelProto:
    return model([node("If", "image", then_branch=_body(), else_branch=_body())])


def _loop() -> ModelProto:
    return model([node("Loop", "", "", "image", body=_body())])


def _scan() -> ModelProto:
    return model([node("Scan", "image", body=_body(), num_scan_inputs=1)])


def _hidden_subgraph() -> ModelProto:
    """A graph in an attribute of an operator that has none."""
    return model([node("Relu", "image", body=_body())])


def _bare_loop() -> ModelProto:
    return model([node("Loop", "image")])


def _external() -> ModelProto:
    weight = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model([node("Add", "image", "w")], weights=[weight])


def _external_in_constant() -> ModelProto:
    made = _external()
    weight = made.graph.initializer[0]
    return model([node("Constant", out="c", value=weight), node("Add", "image", "c")])


def _function() -> ModelProto:
    function = helper.make_function(
        "", "Relu", ["x"], ["y"], [helper.make_node("Exp", ["x"], ["y"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    return model([node("Relu", "image")], functions=[function])


def _foreign() -> ModelProto:
    return model(
        [node("FusedConv", "image", domain="com.microsoft")],
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)],
    )


def _foreign_undeclared() -> ModelProto:
    return model([node("Relu", "image", domain="evil")])


def _sparse() -> ModelProto:
    made = good()
    values = numpy_helper.from_array(np.zeros(1, np.float32), "v")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "p")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**9]))
    return made


def _training() -> ModelProto:
    made = good()
    made.training_info.add()
    return made


def _short_weight() -> ModelProto:
    weight = TensorProto(name="w", data_type=1, dims=[1000, 1000], raw_data=b"\0" * 4)
    return model([node("Add", "image", "w")], weights=[weight])


def _huge_weight() -> ModelProto:
    weight = TensorProto(name="w", data_type=1, dims=[2**40])
    return model([node("Add", "image", "w")], weights=[weight])


def _hidden_weight() -> ModelProto:
    weight = TensorProto(name="w", data_type=7, dims=[0, 2**62])
    return model([node("Add", "image", "w")], weights=[weight])


def _negative_weight() -> ModelProto:
    weight = TensorProto(name="w", data_type=1, dims=[-1, -4], raw_data=b"\0" * 16)
    return model([node("Add", "image", "w")], weights=[weight])


def _two_places() -> ModelProto:
    weight = TensorProto(name="w", data_type=1, dims=[1], raw_data=b"\0" * 4, float_data=[1.0])
    return model([node("Add", "image", "w")], weights=[weight])


def _strings() -> ModelProto:
    weight = TensorProto(name="w", data_type=8, dims=[1], string_data=[b"x"])
    return model([node("Add", "image", "w")], weights=[weight])


def _data_decides() -> ModelProto:
    """The size of a tensor is a number out of the picture."""
    nodes = [
        node("ReduceMax", "image", out="m", keepdims=0),
        node("Cast", "m", out="i", to=TensorProto.INT64),
        node("Unsqueeze", "i", "axis", out="n"),
        node("ConstantOfShape", "n"),
    ]
    return model(nodes, weights=[numbers("axis", 0)])


def _nonzero_decides() -> ModelProto:
    nodes = [
        node("NonZero", "image", out="z"),
        node("Shape", "z", out="s"),
        node("ConstantOfShape", "s"),
    ]
    return model(nodes)


def _double_use() -> bytes:
    """Protobuf would merge the two graphs; a naive reader sees only one."""
    first, second = good(), _if()
    return first.SerializeToString() + ModelProto(graph=second.graph).SerializeToString()


def _unknown_field() -> bytes:
    return good().SerializeToString() + b"\xfa\x3f\x01x"


def _group_wire_type() -> bytes:
    return good().SerializeToString() + b"\x0b\x0c"


def _tiny_fields() -> bytes:
    return good().SerializeToString() + b"\x72\x00" * 1_000_001


def _wrong_attribute_type() -> ModelProto:
    made = model([node("Concat", "image", "image", axis=0)])
    made.graph.node[0].attribute[0].type = AttributeProto.FLOAT
    return made


def _used_early() -> ModelProto:
    return model([node("Relu", "late", out="out"), node("Relu", "image", out="late")])


def _made_twice() -> ModelProto:
    return model([node("Relu", "image"), node("Exp", "image")])


def _cycle() -> ModelProto:
    return model([node("Add", "image", "b", out="a"), node("Relu", "a", out="b")])


def _sequence_input() -> ModelProto:
    made = good()
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    made.graph.input.append(helper.make_value_info("s", helper.make_sequence_type_proto(kind)))
    return made


def _resize() -> ModelProto:
    nodes = [node("Resize", "image", "", "", "n", mode="nearest")]
    return model(nodes, weights=[numbers("n", 1, 3, 10**6, 10**6)])


def _pad() -> ModelProto:
    pads = numbers("n", 0, 0, 0, 0, 0, 0, 10**6, 10**6)
    return model([node("Pad", "image", "n")], weights=[pads])


def _range() -> ModelProto:
    ends = [
        numpy_helper.from_array(np.array(each, np.int64), f"n{each}") for each in (0, 10**12, 1)
    ]
    return model(
        [node("Range", "n0", "n1000000000000", "n1")],
        weights=ends,
        outputs=[VALUE("out", TensorProto.INT64, None)],
    )


def _one_hot() -> ModelProto:
    weights = [
        numbers("d", 10**9),
        numpy_helper.from_array(np.array([0, 1], np.float32), "v"),
        numbers("i", *range(100)),
    ]
    return model([node("OneHot", "i", "d", "v")], weights=weights)


def _transposed() -> ModelProto:
    weight = numpy_helper.from_array(np.zeros((3, 1, 1, 1), np.float32), "w")
    return model([node("ConvTranspose", "image", "w", strides=[10**5, 10**5])], weights=[weight])


def _outer() -> ModelProto:
    """A row times a column of a hundred million."""
    nodes = [
        node("Tile", "image", "n", out="t"),
        node("Reshape", "t", "r", out="row"),
        node("Reshape", "t", "c", out="column"),
        node("MatMul", "column", "row"),
    ]
    weights = [numbers("n", 1, 1, 100, 100), numbers("r", 1, -1), numbers("c", -1, 1)]
    return model(nodes, weights=weights)


def _negative_side() -> ModelProto:
    return model([node("ConstantOfShape", "n")], weights=[numbers("n", -5)])


def _bytes(make: Callable[[], ModelProto | bytes]) -> bytes:
    made = make()
    return made if isinstance(made, bytes) else made.SerializeToString()


#: Name -> (bytes, the code it is refused with).
MODELS: Mapping[str, tuple[bytes, str]] = {
    name: (_bytes(make), code)
    for name, make, code in [
        ("nothing", lambda: b"", "not_onnx"),
        ("text", lambda: b"no model at all", "not_onnx"),
        ("a cut file", lambda: good().SerializeToString()[:-3], "not_onnx"),
        ("an old wire type", _group_wire_type, "not_onnx"),
        ("a million tiny fields", _tiny_fields, "too_many_fields"),
        ("an unknown field", _unknown_field, "unknown_field"),
        ("a second graph to merge", _double_use, "repeated_field"),
        ("an old format", lambda: model([node("Relu", "image")], ir_version=2), "bad_ir_version"),
        ("a future format", lambda: model([node("Relu", "image")], ir_version=99), "bad_ir_version"),
        ("old operators", lambda: model([node("Relu", "image")], opset=5), "bad_opset"),
        ("future operators", lambda: model([node("Relu", "image")], opset=99), "bad_opset"),
        ("a foreign domain", _foreign, "foreign_domain"),
        ("an undeclared domain", _foreign_undeclared, "foreign_domain"),
        ("a function over Relu", _function, "local_functions"),
        ("training parts", _training, "training_info"),
        ("weights in /etc/passwd", _external, "external_data"),
        ("a constant elsewhere", _external_in_constant, "external_data"),
        ("a sparse weight", _sparse, "sparse_tensor"),
        ("If", _if, "subgraph"),
        ("Loop", _loop, "subgraph"),
        ("Scan", _scan, "subgraph"),
        ("a hidden subgraph", _hidden_subgraph, "subgraph"),
        ("Loop without a body", _bare_loop, "control_flow"),
        ("random numbers", lambda: model([node("RandomNormalLike", "image")]), "not_deterministic"),
        ("ConvInteger", lambda: model([node("ConvInteger", "image")]), "varying_quantisation"),
        ("an unknown operator", lambda: model([node("Evil", "image")]), "unknown_operator"),
        ("strings", _strings, "bad_type"),
        ("a sequence", _sequence_input, "bad_type"),
        ("a weight too short", _short_weight, "bad_tensor"),
        ("a weight of terabytes", _huge_weight, "tensor_too_large"),
        ("a size hidden by a zero", _hidden_weight, "tensor_too_large"),
        ("a weight of negative size", _negative_weight, "bad_tensor"),
        ("a weight in two places", _two_places, "bad_tensor"),
        ("an attribute of another type", _wrong_attribute_type, "bad_attribute"),
        ("use before making", _used_early, "name_missing"),
        ("a cycle", _cycle, "name_missing"),
        ("a tensor made twice", _made_twice, "name_repeated"),
        ("a constant of a terabyte", constant_bomb, "tensor_too_large"),
        ("doubling", _doubling, "tensor_too_large"),
        ("Resize", _resize, "tensor_too_large"),
        ("Pad", _pad, "tensor_too_large"),
        ("Range", _range, "tensor_too_large"),
        ("OneHot", _one_hot, "tensor_too_large"),
        ("ConvTranspose", _transposed, "tensor_too_large"),
        ("an outer product", _outer, "tensor_too_large"),
        ("many middling tensors", _many_middling, "memory_too_large"),
        ("endless products", _work, "work_too_large"),
        ("a size out of the picture", _data_decides, "shape_unknown"),
        ("a size out of NonZero", _nonzero_decides, "shape_unknown"),
        ("a negative size", _negative_side, "bad_shape"),
        ("too many operators", lambda: model(
            [node("Relu", "image", out=f"o{at}") for at in range(20_001)]), "too_many_nodes"),
        ("too many weights", lambda: model(
            [node("Relu", "image")],
            weights=[numbers(f"w{at}", 1) for at in range(20_001)]), "too_many_tensors"),
    ]
}  # fmt: skip
