"""Weights: their bytes must be in the file and fit shape and type; only small ones are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.protocol import wire
from workers.protocol.modelcheck import limits
from workers.protocol.modelcheck.graphs import DTYPES, Tensor
from workers.protocol.modelcheck.refusals import Refused

Fields = Callable[[memoryview], Iterator[wire.Field]]

#: Field of the listed values -> (data types it may carry, bytes each, 0 for varints).
_LISTED: Final = {
    4: ({1}, 4),
    5: ({2, 3, 4, 5, 6, 9, 10}, 0),
    7: ({7}, 0),
    10: ({11}, 8),
    11: ({12, 13}, 0),
}
_RAW, _NAME, _DIMS, _DTYPE, _TEXTS = 9, 8, 1, 2, 6
_ELSEWHERE, _LOCATION = 13, 14
_IGNORED: Final = {12, _LOCATION, 16}


def read(fields: Fields, body: memoryview) -> tuple[str, Tensor]:
    """Return a weight's name and what is kept of it.

    Raises:
        Refused: external_data, bad_type, bad_tensor, unknown_field or tensor_too_large.
    """
    name, dtype, shape = "", 0, list[int]()
    content: dict[int, list[wire.Field]] = {}
    for each in fields(body):
        if each.number == _DIMS:
            _add_dimensions(shape, each)
        elif each.number == _DTYPE:
            dtype = each.unsigned()
        elif each.number == _NAME:
            name = each.text()
        elif each.number in _LISTED or each.number == _RAW:
            content.setdefault(each.number, []).append(each)
        else:
            _check_rest(name, each)
    if dtype not in DTYPES:
        raise Refused("bad_type", f"type {dtype}", tensor=name)
    if min(shape, default=0) < 0:
        raise Refused("bad_tensor", f"shape {shape}", tensor=name)
    return name, _tensor(name, dtype, tuple(shape), content)


def _check_rest(name: str, each: wire.Field) -> None:
    """Refuse a part that is neither a weight's own nor a remark."""
    if each.number == _ELSEWHERE or (each.number == _LOCATION and each.unsigned() != 0):
        raise Refused("external_data", "its bytes lie elsewhere", tensor=name)
    if each.number == _TEXTS:
        raise Refused("bad_type", "it is of text", tensor=name)
    if each.number not in _IGNORED:
        raise Refused("unknown_field", f"a weight has a field {each.number}", tensor=name)


def _add_dimensions(shape: list[int], each: wire.Field) -> None:
    numbers = [each.unsigned()] if each.kind is wire.Kind.VARINT else wire.varints(each.body())
    for number in numbers:
        shape.append(wire.signed(number))
        if len(shape) > limits.DIMENSIONS_MAX:
            raise Refused("bad_tensor", "too many dimensions")


def _tensor(
    name: str, dtype: int, shape: tuple[int, ...], content: dict[int, list[wire.Field]]
) -> Tensor:
    # A dimension of 0 would hide others that no array can have.
    count = math.prod(filter(None, shape))
    item_bytes = np.dtype(DTYPES[dtype]).itemsize
    if count * item_bytes > limits.TENSOR_BYTES_MAX:
        raise Refused("tensor_too_large", f"{count} elements", tensor=name)
    if len(content) > 1:
        raise Refused("bad_tensor", "its values stand in two places", tensor=name)
    number, found = next(iter(content.items()), (_RAW, []))
    if number == _RAW:
        return _raw(name, dtype, shape, found)
    kinds, width = _LISTED[number]
    if dtype not in kinds:
        raise Refused("bad_tensor", "its values stand in the wrong place", tensor=name)
    if width:
        data = b"".join(bytes(each.raw()) for each in found)
        return _of_bytes(name, dtype, shape, data)
    return _varints(name, dtype, shape, found)


def _raw(name: str, dtype: int, shape: tuple[int, ...], found: list[wire.Field]) -> Tensor:
    if len(found) > 1:
        raise Refused("repeated_field", "its bytes stand twice", tensor=name)
    return _of_bytes(name, dtype, shape, found[0].body() if found else b"")


def _of_bytes(name: str, dtype: int, shape: tuple[int, ...], data: bytes | memoryview) -> Tensor:
    kind = np.dtype(DTYPES[dtype])
    if len(data) != math.prod(shape) * kind.itemsize:
        raise Refused("bad_tensor", f"{len(data)} bytes for the shape {shape}", tensor=name)
    if math.prod(shape) > limits.VALUES_MAX:
        return Tensor(dtype, shape, None)
    # Copied: a view would keep the whole file in memory.
    return Tensor(dtype, shape, np.frombuffer(bytes(data), kind.newbyteorder("<")).reshape(shape))


def _varints(name: str, dtype: int, shape: tuple[int, ...], found: list[wire.Field]) -> Tensor:
    count, values = 0, list[int]()
    for each in found:
        if each.kind is wire.Kind.VARINT:
            count += 1
            values.append(each.signed())
            continue
        # Each number ends with the one byte of it that is below 128.
        count += int(np.count_nonzero(np.frombuffer(each.body(), np.uint8) < 0x80))
        if count <= limits.VALUES_MAX:
            values += [wire.signed(number) for number in wire.varints(each.body())]
    if count != math.prod(shape):
        raise Refused("bad_tensor", f"{count} values for the shape {shape}", tensor=name)
    if count > limits.VALUES_MAX:
        return Tensor(dtype, shape, None)
    return Tensor(dtype, shape, _array(name, dtype, values).reshape(shape))


def _array(name: str, dtype: int, values: list[int]) -> NDArray[Any]:
    if dtype == 10:  # a float16 is stored as the integer of its bits
        bits = np.array([value & 0xFFFF for value in values], dtype=np.uint16)
        return bits.view(np.float16)
    if dtype in {12, 13}:
        values = [value & (2**64 - 1) for value in values]
    try:
        return np.array(values, dtype=DTYPES[dtype])
    except OverflowError as exc:
        raise Refused("bad_tensor", "a value beyond its type", tensor=name) from exc
