"""Translate the convolutional part of a frozen TensorFlow graph to ONNX.

Knows the operations a frozen MobileNet holds: Conv2D, DepthwiseConv2dNative, BiasAdd,
Relu6, Add, Identity, and batch normalisation as TensorFlow freezes it, Mul and Add around
a convolution with factors computed by Mul, Sub and Rsqrt from constants. Those factors
are folded into the convolution's weights, in float32 like TensorFlow computes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.conversion import ordering
from tasks.conversion.assembly import Assembly
from tasks.conversion.graphdef import GraphNode
from tasks.conversion.ordering import Unconvertible

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Feature:
    """A tensor of the ONNX graph, (1, channels, side, side) float32."""

    name: str
    side: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution not yet put out, since its scale and bias are still to come.

    `weights` are (out, in / groups, kernel, kernel), ONNX's order.
    """

    source: Feature
    weights: Floats
    stride: int
    groups: int
    padding: str


Value = Floats | Convolution | Feature


def translate(
    assembly: Assembly,
    graph: Mapping[str, GraphNode],
    *,
    roots: Iterable[str],
    known: Mapping[str, Feature],
) -> dict[str, Feature]:
    """Add to `assembly` what `roots` need and return their features by node name.

    `known` names the nodes whose features exist already, such as the prepared picture.

    Raises:
        Unconvertible: an operation, or a use of one, outside those named above.
        MalformedGraph: an attribute cannot be read.
    """
    wanted = list(roots)
    values: dict[str, Value] = dict(known)
    for node in ordering.sort(graph, roots=wanted, known=known):
        operands = [values[name] for name in node.inputs]
        values[node.name] = _value(assembly, node, operands)
    return {name: _feature(name, values[name]) for name in wanted}


def _value(assembly: Assembly, node: GraphNode, operands: list[Value]) -> Value:
    match node.op, operands:
        case "Const", []:
            return node.floats("value")
        case "Identity", [value]:
            return value
        case "Conv2D" | "DepthwiseConv2dNative", [Feature() as source, np.ndarray() as weights]:
            return _convolution(node, source, weights)
        case "Mul", [Convolution() as convolution, np.ndarray() as scale]:
            return _scaled(node.name, convolution, scale)
    if all(isinstance(operand, np.ndarray) for operand in operands):
        return _folded(node, operands)
    return _put(assembly, node, operands)


def _put(assembly: Assembly, node: GraphNode, operands: list[Value]) -> Feature:
    match node.op, operands:
        case "Add" | "BiasAdd", [Convolution() as convolution, np.ndarray() as bias]:
            return _put_convolution(assembly, node.name, convolution, bias)
        case "Add", [Feature() as left, Feature() as right] if left.side == right.side:
            return Feature(assembly.node("Add", [left.name, right.name], node.name), left.side)
        case "Relu6", [Feature() as source]:
            return _put_relu6(assembly, node.name, source)
    raise _unknown(node, operands)


def _folded(node: GraphNode, operands: list[Value]) -> Floats:
    match node.op, operands:
        case "Mul", [np.ndarray() as left, np.ndarray() as right]:
            return left * right
        case "Add", [np.ndarray() as left, np.ndarray() as right]:
            return left + right
        case "Sub", [np.ndarray() as left, np.ndarray() as right]:
            return left - right
        case "Rsqrt", [np.ndarray() as operand]:
            return np.reciprocal(np.sqrt(operand))
    raise _unknown(node, operands)


def _unknown(node: GraphNode, operands: list[Value]) -> Unconvertible:
    kinds = ", ".join(type(operand).__name__ for operand in operands)
    return Unconvertible(f"{node.op} of {kinds or 'nothing'} in node {node.name!r}")


def _convolution(node: GraphNode, source: Feature, weights: Floats) -> Convolution:
    strides = node.integers("strides")
    stride = strides[1] if len(strides) == 4 else 0
    if strides != (1, stride, stride, 1) or stride < 1:
        raise Unconvertible(f"strides {strides} in node {node.name!r}")
    if set(node.integers("dilations")) != {1} or node.text("data_format") != "NHWC":
        raise Unconvertible(f"dilated or not NHWC: node {node.name!r}")
    if weights.ndim != 4:
        raise Unconvertible(f"weights of {weights.ndim} dimensions in node {node.name!r}")
    height, width, inputs, outputs = weights.shape
    if height != width:
        raise Unconvertible(f"kernel of {height} x {width} in node {node.name!r}")
    padding = node.text("padding")
    if node.op == "Conv2D":
        return Convolution(source, weights.transpose(3, 2, 0, 1), stride, 1, padding)
    per_channel = weights.transpose(2, 3, 0, 1).reshape(inputs * outputs, 1, height, width)
    return Convolution(source, per_channel, stride, inputs, padding)


def _scaled(name: str, convolution: Convolution, scale: Floats) -> Convolution:
    _check_per_output(name, convolution, scale)
    return replace(convolution, weights=convolution.weights * scale.reshape(-1, 1, 1, 1))


def _put_convolution(
    assembly: Assembly, name: str, convolution: Convolution, bias: Floats
) -> Feature:
    _check_per_output(name, convolution, bias)
    kernel, stride = convolution.weights.shape[2], convolution.stride
    before, after, side = _padding(
        convolution.padding, convolution.source.side, kernel=kernel, stride=stride
    )
    inputs = [
        convolution.source.name,
        assembly.constant(f"{name}/weights", convolution.weights),
        assembly.constant(f"{name}/bias", bias),
    ]
    assembly.node(
        "Conv",
        inputs,
        name,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=convolution.groups,
    )
    return Feature(name, side)


def _check_per_output(name: str, convolution: Convolution, values: Floats) -> None:
    outputs = len(convolution.weights)
    if values.shape != (outputs,):
        raise Unconvertible(f"{values.shape} values for {outputs} outputs in node {name!r}")


def _padding(padding: str, side: int, *, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the zeros before and after, and the output side, as TensorFlow computes them.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    if padding == "VALID":
        return 0, 0, (side - kernel) // stride + 1
    if padding != "SAME":
        raise Unconvertible(f"padding {padding!r}")
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2, out


def _put_relu6(assembly: Assembly, name: str, source: Feature) -> Feature:
    bounds = [f"{name}/low", f"{name}/high"]
    assembly.scalar(bounds[0], 0.0)
    assembly.scalar(bounds[1], 6.0)
    return Feature(assembly.node("Clip", [source.name, *bounds], name), source.side)


def _feature(name: str, value: Value) -> Feature:
    if isinstance(value, Feature):
        return value
    raise Unconvertible(f"node {name!r} is no feature but {type(value).__name__}")
