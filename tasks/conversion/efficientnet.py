"""Convert EfficientNet-Lite3 (int8) from TensorFlow Lite to ONNX, numbers kept as they are.

Integers stay integers: each activation is quantised as in the original (moved from int8 to
uint8, the form that ONNX Runtime computes exactly on all processors with
`session.x64quantprecision`), so the runtime fuses it back into integer arithmetic. The
original's Relu6 is left out where the integers' range says the same: standing between a
convolution and its quantisation, a Clip would block that fusion and cost four times the time.

in   image          uint8 (1, 3, 280, 280), RGB
out  probabilities  float32 (1, 1000), ImageNet-1k in the order of the label file
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tasks.conversion.assembly import Assembly
from tasks.conversion.ordering import Unconvertible
from tasks.conversion.tflite import LiteGraph, Operator, Tensor

MODEL_NAME: Final = "efficientnet_lite3_int8"
SIDE: Final = 280
CLASSES: Final = 1000
#: Distance between int8 and uint8.
SHIFT: Final = 128
#: ActivationFunctionType codes.
NONE, RELU6 = 0, 3
#: Padding codes.
SAME = 0
#: Field numbers of (stride_w, stride_h, activation, dilation_w, dilation_h).
_CONV = (1, 2, 3, 4, 5)
_DEPTHWISE = (1, 2, 4, 5, 6)


def convert(graph: LiteGraph) -> ModelProto:
    """Return the classifier as an ONNX model; same file, same bytes.

    Raises:
        Unconvertible: the graph is not built like this classifier.
    """
    if graph.tensors[graph.input].shape != (1, SIDE, SIDE, 3):
        raise Unconvertible(f"an input of {graph.tensors[graph.input].shape}")
    translation = _Translation(graph)
    for place, operator in enumerate(graph.operators):
        translation.add(place, operator)
    return translation.model()


class _Translation:
    """The ONNX graph so far, and which of its tensors stands for which of the original."""

    def __init__(self, graph: LiteGraph) -> None:
        self._graph = graph
        self._assembly = Assembly()
        #: Tensor -> name of its quantised form.
        self._quantised = {graph.input: "image"}
        self._probabilities = ""

    def model(self) -> ModelProto:
        if not self._probabilities:
            raise Unconvertible("no Softmax at the end")
        value = helper.make_tensor_value_info
        return self._assembly.model(
            MODEL_NAME,
            inputs=[value("image", TensorProto.UINT8, [1, 3, SIDE, SIDE])],
            outputs=[value(self._probabilities, TensorProto.FLOAT, [1, CLASSES])],
        )

    def add(self, place: int, operator: Operator) -> None:
        match operator.op:
            case "QUANTIZE":
                self._requantise(operator)
            case "CONV_2D":
                self._convolve(place, operator, is_depthwise=False)
            case "DEPTHWISE_CONV_2D":
                self._convolve(place, operator, is_depthwise=True)
            case "ADD":
                self._add(place, operator)
            case "AVERAGE_POOL_2D":
                self._pool(place, operator)
            case "RESHAPE":
                self._flatten(place, operator)
            case "FULLY_CONNECTED":
                self._connect(place, operator)
            case _:
                logits = self._read(operator.inputs[0], f"{place}/logits")
                self._probabilities = self._assembly.node(
                    "Softmax", [logits], "probabilities", axis=1
                )

    def _requantise(self, operator: Operator) -> None:
        """Pass the tensor on: moved to uint8, both forms are the same."""
        source, result = operator.inputs[0], operator.outputs[0]
        if self._probabilities:
            return
        if _scale(self._tensor(source)) != _scale(self._tensor(result)):
            raise Unconvertible("a change of scale")
        if _zero(self._tensor(source)) != _zero(self._tensor(result)):
            raise Unconvertible("a change of zero")
        self._quantised[result] = self._quantised[source]

    def _convolve(self, place: int, operator: Operator, *, is_depthwise: bool) -> None:
        source, weights, bias = operator.inputs
        fields = _DEPTHWISE if is_depthwise else _CONV
        stride_x, stride_y, activation, dilation_x, dilation_y = (
            operator.option(number, "<b" if at == 2 else "<i", default=0 if at == 2 else 1)
            for at, number in enumerate(fields)
        )
        _check_activation(activation, self._tensor(operator.outputs[0]))
        kernel = _constant(self._tensor(weights))
        order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
        kernel = kernel.transpose(order)
        _, rows, columns, _ = self._tensor(source).shape
        if operator.option(0, "<b") != SAME or (dilation_x, dilation_y) != (1, 1):
            raise Unconvertible("another padding, or a dilation")
        top, bottom = _padding(rows, stride_y, kernel.shape[2])
        left, right = _padding(columns, stride_x, kernel.shape[3])
        inputs = [
            self._read(source, f"{place}/in"),
            self._weight(f"{place}/weights", kernel, self._tensor(weights)),
            self._weight(f"{place}/bias", _constant(self._tensor(bias)), self._tensor(bias)),
        ]
        name = self._assembly.node(
            "Conv",
            inputs,
            f"{place}/sum",
            strides=[stride_y, stride_x],
            pads=[top, left, bottom, right],
            group=kernel.shape[0] if is_depthwise else 1,
        )
        self._write(place, operator, name)

    def _add(self, place: int, operator: Operator) -> None:
        _check_activation(operator.option(0, "<b"), self._tensor(operator.outputs[0]))
        parts = [self._read(source, f"{place}/in{at}") for at, source in enumerate(operator.inputs)]
        self._write(place, operator, self._assembly.node("Add", parts, f"{place}/sum"))

    def _pool(self, place: int, operator: Operator) -> None:
        """Average over the whole picture, the only pool there is."""
        _, rows, columns, _ = self._tensor(operator.inputs[0]).shape
        if (operator.option(4), operator.option(3)) != (rows, columns):
            raise Unconvertible("a pool over a part of the picture")
        source = self._read(operator.inputs[0], f"{place}/in")
        name = self._assembly.node("GlobalAveragePool", [source], f"{place}/mean")
        self._write(place, operator, name)

    def _flatten(self, place: int, operator: Operator) -> None:
        source, result = operator.inputs[0], operator.outputs[0]
        shape = self._tensor(source).shape
        if self._tensor(result).shape != (1, math.prod(shape)) or shape[1:3] != (1, 1):
            raise Unconvertible("a change of shape")
        self._quantised[result] = self._assembly.node(
            "Flatten", [self._quantised[source]], f"{place}/row", axis=1
        )

    def _connect(self, place: int, operator: Operator) -> None:
        source, weights, bias = operator.inputs
        _check_activation(operator.option(0, "<b"), self._tensor(operator.outputs[0]))
        matrix = _constant(self._tensor(weights))
        inputs = [
            self._read(source, f"{place}/in"),
            self._weight(f"{place}/weights", matrix, self._tensor(weights)),
            self._weight(f"{place}/bias", _constant(self._tensor(bias)), self._tensor(bias)),
        ]
        name = self._assembly.node("Gemm", inputs, f"{place}/sum", transB=1)
        self._write(place, operator, name)

    def _tensor(self, place: int) -> Tensor:
        return self._graph.tensors[place]

    def _read(self, place: int, name: str) -> str:
        """Return the tensor as real numbers."""
        tensor = self._tensor(place)
        if place not in self._quantised:
            raise Unconvertible(f"tensor {place} is used before it is made")
        return self._assembly.node(
            "DequantizeLinear", [self._quantised[place], *self._quantities(name, tensor)], name
        )

    def _write(self, place: int, operator: Operator, name: str) -> None:
        """Quantise a result as the original does."""
        result = operator.outputs[0]
        quantities = self._quantities(f"{place}/out", self._tensor(result))
        self._quantised[result] = self._assembly.node(
            "QuantizeLinear", [name, *quantities], f"{place}/out"
        )

    def _quantities(self, name: str, tensor: Tensor) -> list[str]:
        zero = np.array(_zero(tensor), dtype=np.uint8)
        return [
            self._assembly.scalar(f"{name}/scale", _scale(tensor)),
            self._assembly.constant(f"{name}/zero", zero),
        ]

    def _weight(self, name: str, values: np.ndarray, tensor: Tensor) -> str:
        """Add a constant of integers with one scale for each output, or one for all."""
        if any(tensor.zero_points):
            raise Unconvertible(f"{name} whose zero is not 0")
        scales = np.array(tensor.scales, dtype=np.float32)
        is_single = len(scales) == 1
        if not is_single and len(scales) != values.shape[0]:
            raise Unconvertible(f"{name} with {len(scales)} scales")
        integers = self._assembly.constant(f"{name}/integers", values)
        zeros = np.zeros(len(scales), dtype=values.dtype)
        quantities = [
            self._assembly.constant(f"{name}/scale", scales[0] if is_single else scales),
            self._assembly.constant(f"{name}/zero", zeros[0] if is_single else zeros),
        ]
        axis = {} if is_single else {"axis": 0}
        return self._assembly.node("DequantizeLinear", [integers, *quantities], name, **axis)


def _constant(tensor: Tensor) -> np.ndarray:
    if tensor.values is None:
        raise Unconvertible("a weight without values")
    return np.asarray(tensor.values)


def _scale(tensor: Tensor) -> float:
    if len(tensor.scales) != 1 or not 0 < tensor.scales[0] < 1e6:
        raise Unconvertible(f"scales {tensor.scales[:3]} of an activation")
    return tensor.scales[0]


def _zero(tensor: Tensor) -> int:
    """Return the zero point as that of a uint8."""
    zero = (tensor.zero_points or (0,))[0] + (SHIFT if tensor.kind is np.int8 else 0)
    if not 0 <= zero <= 255:
        raise Unconvertible(f"a zero point of {zero}")
    return zero


def _check_activation(code: int, result: Tensor) -> None:
    """Check that the result's range alone does what the activation would do."""
    if code == NONE:
        return
    top = (255 - _zero(result)) * _scale(result)
    if code != RELU6 or _zero(result) != 0 or top > 6 + 1e-4:
        raise Unconvertible(f"activation {code} beyond the range of its integers")


def _padding(side: int, stride: int, window: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding: the odd one goes behind."""
    total = max((-(-side // stride) - 1) * stride + window - side, 0)
    return total // 2, total - total // 2
