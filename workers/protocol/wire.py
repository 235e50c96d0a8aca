"""Read the protobuf wire format from bytes nobody has to trust.

Source of the format: https://protobuf.dev/programming-guides/encoding/. Stricter than
the official parsers: a varint above 64 bits, field number 0 and the old groups are
refused. Values are views into the given bytes, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

FIELD_NUMBER_MAX: Final = (1 << 29) - 1
VARINT_BYTES_MAX: Final = 10
#: One text (a name, an operation), bytes.
TEXT_BYTES_MAX: Final = 4_096


class MalformedGraph(ValueError):
    """The bytes are not a graph this reader accepts."""


class Kind(IntEnum):
    """How a field's value is laid out (protobuf calls it the wire type)."""

    VARINT = 0  # an integer of one to ten bytes
    FIXED64 = 1  # eight bytes
    LENGTH = 2  # a varint length, then that many bytes
    FIXED32 = 5  # four bytes


FIXED_SIZES: Final = {Kind.FIXED64: 8, Kind.FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: `value` is an int for VARINT, else the bytes themselves."""

    number: int
    kind: Kind
    value: int | memoryview

    def unsigned(self) -> int:
        """Return the varint, 0 .. 2**64 - 1."""
        if isinstance(self.value, int):
            return self.value
        raise MalformedGraph(f"field {self.number} is {self.kind.name}, not VARINT")

    def signed(self) -> int:
        """Return the varint as int64 in two's complement."""
        return signed(self.unsigned())

    def raw(self) -> memoryview:
        """Return the bytes of a field that is not a varint."""
        if isinstance(self.value, memoryview):
            return self.value
        raise MalformedGraph(f"field {self.number} is a VARINT, not bytes")

    def body(self) -> memoryview:
        """Return the bytes of a LENGTH field: a message, a text or a packed list."""
        if self.kind is not Kind.LENGTH:
            raise MalformedGraph(f"field {self.number} is {self.kind.name}, not LENGTH")
        return self.raw()

    def text(self) -> str:
        """Return a LENGTH field as UTF-8 text of at most TEXT_BYTES_MAX bytes."""
        body = self.body()
        if len(body) > TEXT_BYTES_MAX:
            raise MalformedGraph(f"text of {len(body)} bytes in field {self.number}")
        try:
            return bytes(body).decode()
        except UnicodeDecodeError as exc:
            raise MalformedGraph(f"text in field {self.number} is not UTF-8") from exc


def fields(data: memoryview) -> Iterator[Field]:
    """Yield the fields of one message in file order.

    Raises:
        MalformedGraph: while iterating, at the first field that does not fit.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, _kind(key & 7)
        if not 1 <= number <= FIELD_NUMBER_MAX:
            raise MalformedGraph(f"field number {number} at byte {position}")
        if kind is Kind.VARINT:
            value, position = _varint(data, position)
            yield Field(number, kind, value)
            continue
        if kind is Kind.LENGTH:
            size, position = _varint(data, position)
        else:
            size = FIXED_SIZES[kind]
        if size > len(data) - position:
            raise MalformedGraph(f"field {number} of {size} bytes ends after its message")
        yield Field(number, kind, data[position : position + size])
        position += size


def varints(data: memoryview) -> Iterator[int]:
    """Yield the unsigned integers of a packed list.

    Raises:
        MalformedGraph: while iterating, when the last one is cut off.
    """
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def signed(value: int) -> int:
    """Read a 64-bit pattern as int64."""
    return value - (1 << 64) if value >> 63 else value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + index + 1
    raise MalformedGraph(f"varint at byte {position} is cut off or above 64 bits")


def _kind(code: int) -> Kind:
    try:
        return Kind(code)
    except ValueError as exc:
        raise MalformedGraph(f"unknown wire type {code}") from exc
