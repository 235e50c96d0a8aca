"""Memory that a room may only read: large inputs go in without being copied through a pipe.

The keeper writes into it and never reads it, and its size is sealed, so that there is nothing
in it a room could change. Both sides lay tensors out by the same rule.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Address space, not memory: only what was written is there. The largest picture fits.
AREA_BYTES: Final = 128 * 1024 * 1024
#: Smaller tensors go through the pipe.
SHARED_BYTES_MIN: Final = 64 * 1024
#: More than this is given back to the system at once after use.
KEPT_BYTES_MAX: Final = 48 * 1024 * 1024
#: linux/fcntl.h: F_ADD_SEALS; F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW.
_ADD_SEALS: Final = 1033
_SEALS: Final = 0x0001 | 0x0002 | 0x0004
_PAGE: Final = 4096


class Layout:
    """Where the tensors of one request stand in an area of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        #: Bytes taken so far.
        self.end = 0

    def place(self, size: int) -> int | None:
        """Return the next tensor's offset; None when it goes through the pipe."""
        if size < SHARED_BYTES_MIN or self.end + size > self._size:
            return None
        offset = self.end
        self.end += -(-size // _PAGE) * _PAGE
        return offset


class Area:
    """The keeper's side."""

    def __init__(self) -> None:
        """Make it.

        Raises:
            OSError: the system has no such memory.
        """
        if sys.platform != "linux":
            raise OSError(0, "no memory files here")
        self.descriptor = os.memfd_create("room", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, AREA_BYTES)
            fcntl.fcntl(self.descriptor, _ADD_SEALS, _SEALS)
            self._map = mmap.mmap(self.descriptor, AREA_BYTES)
        except BaseException:
            os.close(self.descriptor)
            raise

    def write(self, offset: int, array: NDArray[Any]) -> None:
        """Copy `array` to its place, row by row."""
        target = np.frombuffer(self._map, dtype=array.dtype, count=array.size, offset=offset)
        target.reshape(array.shape)[...] = array

    def give_back(self, used_bytes: int) -> None:
        """Free what a large request took."""
        if used_bytes > KEPT_BYTES_MAX:
            self._map.madvise(mmap.MADV_REMOVE)

    def hand_over(self) -> None:
        """Forget the descriptor once the room has it; the memory stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Free all of it. May be called twice."""
        self.hand_over()
        with contextlib.suppress(BufferError):  # a write that was interrupted still holds it
            self._map.close()


def make() -> Area | None:
    """Return an area, or None where the system has none: then pipes have to do."""
    try:
        return Area()
    except OSError:
        return None


def attach(descriptor: int) -> mmap.mmap:
    """Return the room's view, for reading only, and close the descriptor."""
    try:
        return mmap.mmap(descriptor, AREA_BYTES, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
