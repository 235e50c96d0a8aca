"""The messages between a room and its keeper: length known before each part is read.

Keeper to room: `REQUEST`, then for OPEN the declaration (JSON, from us), the model and one
byte once its digest was found right; for RUN the tensors. Room to keeper: `REPLY`, then a
short text or the tensors.
"""

from __future__ import annotations

import os
import struct
from typing import Final

OPEN: Final = 1
RUN: Final = 2
#: Kind, number of tensors, bytes of the declaration, bytes of the model.
REQUEST: Final = struct.Struct("<BBxxIQ")
VERIFIED: Final = b"\x01"

OK: Final = 0
#: The runtime refuses the model or what it was given.
UNUSABLE: Final = 1
TOO_LARGE: Final = 2
#: The room itself could not be made ready.
BROKEN: Final = 3
#: Status, number of tensors, bytes of text.
REPLY: Final = struct.Struct("<BBH")
TEXT_BYTES_MAX: Final = 200


class Ended(Exception):
    """The other side is gone."""


def read_into(descriptor: int, target: memoryview) -> None:
    """Fill `target` from a blocking pipe.

    Raises:
        Ended.
    """
    filled = 0
    while filled < len(target):
        count = os.readv(descriptor, [target[filled:]])
        if count == 0:
            raise Ended
        filled += count


def read(descriptor: int, size: int) -> bytes:
    """Return exactly `size` bytes.

    Raises:
        Ended.
    """
    data = bytearray(size)
    read_into(descriptor, memoryview(data))
    return bytes(data)


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data` to a blocking pipe."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def text_of(exc: BaseException) -> bytes:
    """Return an error's first words as printable ASCII, short enough for a reply."""
    words = "".join(
        letter if " " <= letter <= "~" else " " for letter in f"{type(exc).__name__}: {exc}"
    )
    return words[:TEXT_BYTES_MAX].encode("ascii")
