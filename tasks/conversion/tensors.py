"""Decode TensorProto messages of float32, the one type the detector's weights have.

Field numbers: tensorflow/core/framework/{tensor,tensor_shape}.proto. A tensor carries its
elements either as raw little-endian bytes (`tensor_content`) or as a list, in which the
last value stands for all that follow; an empty list means zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.conversion import limits
from workers.protocol import wire
from workers.protocol.wire import MalformedGraph

DT_FLOAT: Final = 1
ELEMENT_BYTES: Final = 4


@dataclass(slots=True)
class _Message:
    dtype: int = 0
    shape: tuple[int, ...] = ()
    content: memoryview | None = None
    floats: bytearray = field(default_factory=bytearray)


def floats(body: memoryview) -> NDArray[np.float32]:
    """Decode a TensorProto of type float32; the array is read-only.

    Raises:
        MalformedGraph: broken bytes, another type, or a size that does not add up.
    """
    message = _parse(body)
    count = math.prod(message.shape)
    if count > limits.TENSOR_ELEMENTS_MAX:
        raise MalformedGraph(f"tensor of {count} elements")
    if message.content is None:
        values = _listed(bytes(message.floats), count)
    else:
        values = _complete(message.content, count)
    array = values.reshape(message.shape)
    array.flags.writeable = False
    return array


def integer_list(item: wire.Field, *, count_max: int) -> list[int]:
    """Decode one field of a repeated integer: one varint, or a packed list of them.

    Raises:
        MalformedGraph: broken bytes, or more than `count_max` integers.
    """
    found: list[int] = []
    is_single = item.kind is wire.Kind.VARINT
    for value in (item.unsigned(),) if is_single else wire.varints(item.body()):
        if len(found) == count_max:
            raise MalformedGraph(f"field {item.number} holds too many integers")
        found.append(wire.signed(value))
    return found


def _parse(body: memoryview) -> _Message:
    message = _Message()
    for item in wire.fields(body):
        match item.number:
            case 1:
                message.dtype = item.unsigned()
            case 2:
                message.shape = _shape(item.body())
            case 4:
                message.content = item.body()
            case 5:
                message.floats += _float_bytes(item)
    if message.dtype != DT_FLOAT:
        raise MalformedGraph(f"tensor of type {message.dtype}, wanted {DT_FLOAT}")
    return message


def _float_bytes(item: wire.Field) -> memoryview:
    return item.raw() if item.kind is wire.Kind.FIXED32 else item.body()


def _shape(body: memoryview) -> tuple[int, ...]:
    sizes: list[int] = []
    for item in wire.fields(body):
        if item.number != 2:
            continue
        sizes.append(_dimension(item.body()))
        if len(sizes) > limits.TENSOR_DIMENSIONS_MAX:
            raise MalformedGraph("tensor with too many dimensions")
    return tuple(sizes)


def _dimension(body: memoryview) -> int:
    size = 0
    for item in wire.fields(body):
        if item.number == 1:
            size = item.signed()
    if size < 0:
        raise MalformedGraph("tensor with a dimension of unknown size")
    return size


def _complete(data: memoryview, count: int) -> NDArray[np.float32]:
    values = _array(data)
    if len(values) != count:
        raise MalformedGraph(f"tensor of {count} elements carries {len(values)}")
    return values


def _listed(data: bytes, count: int) -> NDArray[np.float32]:
    values = _array(data)
    if len(values) > count:
        raise MalformedGraph(f"tensor of {count} elements lists {len(values)}")
    filler = values[-1:] if len(values) else np.zeros(1, np.float32)
    return np.concatenate([values, np.repeat(filler, count - len(values))])


def _array(data: bytes | memoryview) -> NDArray[np.float32]:
    if len(data) % ELEMENT_BYTES:
        raise MalformedGraph("tensor whose bytes end inside an element")
    return np.frombuffer(data, dtype="<f4")
