"""What passes through the wall of a room: tensors of a declared name, type, shape and size.

One tensor is a fixed header (place in the declared list, type, dimensions) and its raw bytes,
so that reading one needs no parser. Only numeric types without invalid bit patterns are taken.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RANK_MAX: Final = 8
TENSORS_MAX: Final = 16
NAME_LENGTH_MAX: Final = 200
#: Codes of ONNX's TensorProto.DataType.
CODES: Final = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
DTYPES: Final = {code: np.dtype(name) for name, code in CODES.items()}
#: Place, type, rank, and eight dimensions of which those beyond the rank are zero.
HEADER: Final = struct.Struct(f"<BBBx{RANK_MAX}Q")

Tensors = dict[str, NDArray[Any]]


class Mismatch(Exception):
    """A tensor is not what was declared; the message is short and free of the tensor's text."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A declared tensor. `None` in `shape` is any size, bounded by `bytes_max` of the whole."""

    name: str
    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]
    bytes_max: int
    #: An input that some models do not have.
    is_optional: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= NAME_LENGTH_MAX or len(self.shape) > RANK_MAX:
            raise ValueError("A tensor's name or rank is out of bounds.")
        if not self.dtypes or not set(self.dtypes) <= set(CODES):
            raise ValueError("A tensor's type is not one that passes the wall.")

    def check(self, *, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """Compare with what is there.

        Raises:
            Mismatch.
        """
        if dtype.name not in self.dtypes:
            raise Mismatch(f"type of {self.name}")
        if len(shape) != len(self.shape):
            raise Mismatch(f"rank of {self.name}")
        if any(want not in (None, have) for want, have in zip(self.shape, shape, strict=True)):
            raise Mismatch(f"shape of {self.name}")
        if math.prod(shape) * dtype.itemsize > self.bytes_max:
            raise Mismatch(f"size of {self.name}")


def header(place: int, array: NDArray[Any]) -> bytes:
    """Return the header of `array`, the `place`th of the declared list.

    Raises:
        Mismatch: its type cannot pass.
    """
    code = CODES.get(array.dtype.name)
    if code is None or array.ndim > RANK_MAX:
        raise Mismatch("type or rank that cannot pass")
    padding = (0,) * (RANK_MAX - array.ndim)
    return HEADER.pack(place, code, array.ndim, *array.shape, *padding)


def read_header(
    data: bytes, *, place: int | None = None
) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return place, type and shape; nothing is allocated for them yet.

    Raises:
        Mismatch: the header is not one that `header` writes, or not of the `place` asked for.
    """
    said, code, rank, *dimensions = HEADER.unpack(data)
    if place not in (None, said):
        raise Mismatch("order")
    if code not in DTYPES:
        raise Mismatch("type code")
    if rank > RANK_MAX or any(dimensions[rank:]):
        raise Mismatch("rank code")
    return said, DTYPES[code], tuple(dimensions[:rank])


def bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the raw bytes, row by row; copies only what is not stored so already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def empty(dtype: np.dtype[Any], shape: Sequence[int]) -> tuple[NDArray[Any], memoryview]:
    """Return a tensor to be filled and its bytes."""
    flat = np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return flat.view(dtype).reshape(shape), flat.data
