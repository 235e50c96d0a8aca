"""Read FlatBuffers tables from bytes nobody has to trust.

Source of the format: https://flatbuffers.dev/internals/. Every offset is checked against
the file before it is followed; nothing is copied.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from workers.protocol.wire import MalformedGraph

#: Elements of one vector; the largest weights of the pinned file have 1.3 million bytes.
VECTOR_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a place in the file; fields are asked for by their number in the schema."""

    data: memoryview
    position: int

    def integer(self, number: int, code: str = "<i", default: int = 0) -> int:
        """Return a scalar field, `code` as for `struct`."""
        place = self._field(number)
        return default if place is None else int(_scalar(self.data, place, code))

    def text(self, number: int) -> str:
        """Return a string field, empty when it is not there."""
        try:
            return bytes(self._vector(number, 1)).decode()
        except UnicodeDecodeError as exc:
            raise MalformedGraph(f"text in field {number} is not UTF-8") from exc

    def table(self, number: int) -> Table | None:
        """Return a field that is a table."""
        place = self._field(number)
        if place is None:
            return None
        return Table(self.data, place + int(_scalar(self.data, place, "<I")))

    def tables(self, number: int) -> list[Table]:
        """Return a vector of tables."""
        place = self._field(number)
        if place is None:
            return []
        start = place + int(_scalar(self.data, place, "<I"))
        count = len(self._vector(number, 4)) // 4
        places = range(start + 4, start + 4 + 4 * count, 4)
        return [Table(self.data, at + int(_scalar(self.data, at, "<I"))) for at in places]

    def raw(self, number: int) -> memoryview:
        """Return a vector of bytes, empty when it is not there."""
        return self._vector(number, 1)

    def integers(self, number: int, code: str = "i") -> tuple[int, ...]:
        """Return a vector of integers, `code` as for `struct`."""
        return tuple(int(each) for each in self._numbers(number, code))

    def floats(self, number: int) -> tuple[float, ...]:
        """Return a vector of float32."""
        return tuple(float(each) for each in self._numbers(number, "f"))

    def _numbers(self, number: int, code: str) -> tuple[int | float, ...]:
        size = struct.calcsize(f"<{code}")
        body = self._vector(number, size)
        return struct.unpack(f"<{len(body) // size}{code}", body)

    def _vector(self, number: int, item_bytes: int) -> memoryview:
        place = self._field(number)
        if place is None:
            return memoryview(b"")
        start = place + int(_scalar(self.data, place, "<I"))
        count = int(_scalar(self.data, start, "<I"))
        end = start + 4 + count * item_bytes
        if count > VECTOR_MAX or end > len(self.data):
            raise MalformedGraph(f"field {number} ends after the file")
        return self.data[start + 4 : end]

    def _field(self, number: int) -> int | None:
        """Return where the field lies, None when the table leaves it out."""
        layout = self.position - int(_scalar(self.data, self.position, "<i"))
        if 4 + 2 * number >= int(_scalar(self.data, layout, "<H")):
            return None
        offset = int(_scalar(self.data, layout + 4 + 2 * number, "<H"))
        return self.position + offset if offset else None


def root(data: bytes | memoryview) -> Table:
    """Return the file's root table.

    Raises:
        MalformedGraph: the file is too short.
    """
    view = memoryview(data).cast("B")
    return Table(view, int(_scalar(view, 0, "<I")))


def _scalar(data: memoryview, position: int, code: str) -> int | float:
    if not 0 <= position <= len(data) - struct.calcsize(code):
        raise MalformedGraph(f"an offset leads out of the file: {position}")
    value: int | float = struct.unpack_from(code, data, position)[0]
    return value
