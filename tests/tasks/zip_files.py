"""Make the bytes of zips, good and bad."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

#: Where fields stand in an entry of the table of contents (APPNOTE.TXT 4.3.12).
FLAGS, CRC, COMPRESSED_SIZE, SIZE = 8, 16, 20, 24


def make(files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_special(name: str, content: bytes, *, mode: int) -> bytes:
    """A zip of one entry with a Unix mode, such as a link."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = zipfile.ZipInfo(name)
        header.create_system = 3
        header.external_attr = mode << 16
        archive.writestr(header, content)
    return file.getvalue()


def tampered(data: bytes, *, field: int, value: int, width: str = "<L") -> bytes:
    """Change a field of the last entry in the table of contents."""
    changed = bytearray(data)
    start = changed.rindex(b"PK\x01\x02")
    struct.pack_into(width, changed, start + field, value)
    return bytes(changed)


def overlapping(content: bytes, *, count: int) -> bytes:
    """A zip whose `count` entries all are the same stored bytes (a Fifield bomb, simplest)."""
    data = make({"a.png": content})
    start = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    table = data[start:end] * count
    tail = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(table), start, 0
    )
    return data[:start] + table + tail
