"""Whatever is done to a model's bytes or parts: a verdict, never a crash, never a bomb.

"Never a bomb": what is taken is run, and each output stays within what was foretold.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers.protocol import preparation
from workers.protocol.modelcheck import fitting, operators, reading, shapes
from workers.protocol.modelcheck.facts import Fact
from workers.protocol.modelcheck.refusals import Refused

SEEDS = [
    (builders.classifier(), builders.CLASSIFIER),
    (builders.yolo(), builders.YOLO),
    (builders.detr(), builders.DETR),
    (models.make_detector(), builders.SSD),
]
#: Sizes a mutant may ask for; the largest would need terabytes.
SIZES = st.sampled_from([-(2**63), -7, -1, 0, 1, 2, 3, 5, 64, 1000, 10**6, 2**31, 2**62])
OPS = sorted(operators.ALLOWED | {"If", "Loop", "Evil"})
FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def judge(data: bytes, contract):
    """Return the bounds, or None when the model is refused; nothing else may come out."""
    try:
        return fitting.check(reading.read(data), contract, width=48, height=40)
    except Refused:
        return None


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.floats(0, 1),
)
@FEW
def test_damaged_bytes_get_a_verdict(seed, edits, cut):
    data, contract = seed
    damaged = bytearray(data)
    for place, value in edits:
        damaged[int(place * (len(damaged) - 1))] = value
    keep = len(damaged) if cut > 0.2 else int(len(damaged) * cut * 5)

    bounds = judge(bytes(damaged[:keep]), contract)

    if bounds is not None:
        run(bytes(damaged[:keep]), contract, bounds)


@given(seed=st.sampled_from(SEEDS), data=st.data())
@FEW
def test_changed_graphs_get_a_verdict_and_are_no_bombs(seed, data):
    source, contract = seed
    model = onnx.ModelProto.FromString(source)
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(model, data)
    changed = model.SerializeToString()

    bounds = judge(changed, contract)

    if bounds is not None:
        run(changed, contract, bounds)


def mutate(model, data) -> None:
    """Change a size, an attribute, an operator or a wire of the graph."""
    graph = model.graph
    node = data.draw(st.sampled_from(list(graph.node)))
    names = [name for each in graph.node for name in (*each.input, *each.output)]
    match data.draw(st.sampled_from(["op", "wire", "ints", "int", "weight", "dim", "extra"])):
        case "op":
            node.op_type = data.draw(st.sampled_from(OPS))
        case "wire" if node.input:
            place = data.draw(st.integers(0, len(node.input) - 1))
            node.input[place] = data.draw(st.sampled_from(names))
        case "ints":
            key = data.draw(st.sampled_from(["pads", "strides", "dilations", "perm", "axes"]))
            values = data.draw(st.lists(SIZES, max_size=5))
            node.attribute.append(onnx.helper.make_attribute(key, values, attr_type=7))
        case "int":
            key = data.draw(st.sampled_from(["axis", "group", "keepdims", "blocksize", "to"]))
            node.attribute.append(onnx.helper.make_attribute(key, data.draw(SIZES)))
        case "weight" if graph.initializer:
            weight = data.draw(st.sampled_from(list(graph.initializer)))
            values = np.array(data.draw(st.lists(SIZES, max_size=5)), np.int64)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        case "dim" if graph.initializer:
            weight = data.draw(st.sampled_from(list(graph.initializer)))
            weight.dims.append(data.draw(SIZES))
        case _:
            op = data.draw(
                st.sampled_from(["Tile", "Expand", "ConstantOfShape", "Shape", "NonZero"])
            )
            sizes = np.array(data.draw(st.lists(SIZES, max_size=4)), np.int64)
            graph.initializer.append(onnx.numpy_helper.from_array(sizes, f"x{len(names)}"))
            inputs = [data.draw(st.sampled_from(names)), f"x{len(names)}"]
            made = onnx.helper.make_node(op, inputs if op in {"Tile", "Expand"} else inputs[1:],
                                         [f"y{len(names)}"])  # fmt: skip
            graph.node.insert(data.draw(st.integers(0, len(graph.node))), made)


def run(data: bytes, contract, bounds) -> None:
    """Run what was taken; the runtime may refuse it, but not exceed the bounds."""
    assert bounds.total_bytes < 8 * 1024**3
    if bounds.total_bytes > 64 * 1024**2:
        return  # within the bounds, but too much for a test
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    shape = preparation.shape(contract.input, width=48, height=40)
    feeds = {contract.input.name: np.zeros(shape, preparation.DTYPES[contract.input.dtype])}
    if contract.threshold_input:
        feeds[contract.threshold_input] = np.array([0.1], np.float32)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found = session.run(list(contract.output_names), feeds)
    except (
        errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf,
        errors.NotImplemented, errors.RuntimeException,
    ):  # fmt: skip
        return
    for name, tensor in zip(contract.output_names, found, strict=True):
        assert math.prod(tensor.shape) <= bounds.tensors[name].elements


@pytest.mark.parametrize(("data", "contract"), SEEDS, ids=["classify", "yolo", "detr", "ssd"])
def test_every_tensor_has_the_size_that_was_foretold(data, contract):
    model = onnx.ModelProto.FromString(data)
    bounds = judge(data, contract)
    inner = [name for node in model.graph.node for name in node.output]
    known = {each.name for each in model.graph.output}
    for name in set(inner) - known:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shape = preparation.shape(contract.input, width=48, height=40)
    feeds = {contract.input.name: np.zeros(shape, preparation.DTYPES[contract.input.dtype])}
    if contract.threshold_input:
        feeds[contract.threshold_input] = np.array([0.1], np.float32)

    found = dict(zip(inner, session.run(inner, feeds), strict=True))

    assert {name: bounds.tensors[name].shape for name in inner} == {
        name: tensor.shape for name, tensor in found.items()
    }


def test_what_a_runtime_does_on_opening_is_bounded_without_a_picture():
    graph = reading.read(models.make_detector())

    bounds = shapes.bound_opening(graph)

    assert "mean" not in bounds.tensors
    assert bounds.tensors["boxes"] == Fact(1, (3, 4), value=bounds.tensors["boxes"].value)
