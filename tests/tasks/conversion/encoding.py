"""A tiny GraphDef writer, and a small detector built with it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.conversion import anchors

CHANNELS = 2


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, body: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(body)) + body


def shape(sizes: Iterable[int]) -> bytes:
    return b"".join(block(2, number(1, size)) for size in sizes)


def tensor(values: NDArray[np.float32]) -> bytes:
    """Encode an attribute value: a float32 tensor as raw bytes."""
    content = values.astype("<f4").tobytes()
    return block(8, number(1, 1) + block(2, shape(values.shape)) + block(4, content))


def listed(dtype: int, sizes: Sequence[int], *lists: bytes) -> bytes:
    """Encode a tensor attribute whose elements stand in the fields `lists`."""
    return block(8, number(1, dtype) + block(2, shape(sizes)) + b"".join(lists))


def packed_floats(*values: float) -> bytes:
    return block(5, struct.pack(f"<{len(values)}f", *values))


def integers(*values: int) -> bytes:
    """Encode an attribute value: a list of integers."""
    return block(1, block(3, b"".join(varint(value) for value in values)))


def text(value: str) -> bytes:
    """Encode an attribute value: a string."""
    return block(2, value.encode())


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    body = block(1, name.encode()) + block(2, op.encode())
    body += b"".join(block(3, source.encode()) for source in inputs)
    for key, value in attributes.items():
        body += block(5, block(1, key.encode()) + block(2, value))
    return block(1, body)


def const(name: str, values: NDArray[np.float32]) -> bytes:
    return node(name, "Const", value=tensor(values))


def conv(
    name: str,
    source: str,
    weights: str,
    *,
    op: str = "Conv2D",
    stride: int = 1,
    padding: str = "SAME",
    dilation: int = 1,
    data_format: str = "NHWC",
) -> bytes:
    return node(
        name,
        op,
        [source, weights],
        strides=integers(1, stride, stride, 1),
        dilations=integers(1, dilation, dilation, 1),
        padding=text(padding),
        data_format=text(data_format),
    )


def detector(*, box_biases: dict[int, list[float]], logit_biases: dict[int, list[float]]) -> bytes:
    """Encode a detector with SSD's frame around a backbone of nearly nothing.

    All weights are zero, so each map puts out its biases everywhere: `box_biases[level]`
    has 4 values for each shape, `logit_biases[level]` 91. Absent maps put out zeros for
    boxes and -20 for every class.
    """
    parts = [_backbone()]
    for kind, width, biases, default in (
        ("Box", 4, box_biases, 0.0),
        ("Class", 91, logit_biases, -20.0),
    ):
        joined = []
        for level in range(len(anchors.MAP_SIDES)):
            count = len(anchors.shapes(level)) * width
            bias = np.array(biases.get(level, [default] * count), np.float32)
            name = f"{kind}{level}"
            parts += [
                const(f"{name}/weights", np.zeros((1, 1, CHANNELS, count), np.float32)),
                const(f"{name}/biases", bias),
                conv(f"{name}/Conv2D", f"map{level}", f"{name}/weights"),
                node(f"{name}/BiasAdd", "BiasAdd", [f"{name}/Conv2D", f"{name}/biases"]),
                node(f"{name}/Reshape", "Reshape", [f"{name}/BiasAdd", "anything"]),
            ]
            joined.append(f"{name}/Reshape")
        parts.append(node("concat" if kind == "Box" else "concat_1", "ConcatV2", [*joined, "axis"]))
    return b"".join(parts)


def _backbone() -> bytes:
    """Halve the side again and again: 300, 150, 75, 38, then SSD's six maps."""
    parts = [
        const("first", np.zeros((1, 1, 3, CHANNELS), np.float32)),
        const("next", np.zeros((1, 1, CHANNELS, CHANNELS), np.float32)),
        const("zeros", np.zeros(CHANNELS, np.float32)),
    ]
    source = "Preprocessor/sub"
    for step in range(9):
        name = f"map{step - 3}"
        parts += [
            conv(f"{name}/Conv2D", source, "first" if step == 0 else "next", stride=2),
            node(f"{name}/BiasAdd", "BiasAdd", [f"{name}/Conv2D", "zeros"]),
            node(name, "Relu6", [f"{name}/BiasAdd"]),
        ]
        source = name
    return b"".join(parts)
