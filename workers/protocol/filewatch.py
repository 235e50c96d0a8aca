"""Wakes a reader of the embedded broker when a file is renamed into a folder (Linux).

inotify(7) by ctypes: looking into an empty queue twenty times a second would cost an idle
node half a percent of a core, and answer later.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
from pathlib import Path
from typing import Final

#: linux/inotify.h. A message is written under another name and renamed.
_MOVED_TO: Final = 0x00000080
_ONLYDIR: Final = 0x01000000
#: The folder itself is gone.
_IGNORED: Final = 0x00008000
_HEADER: Final = struct.Struct("iIII")
_EVENTS_BYTES: Final = 64 * 1024


class Unwatchable(Exception):
    """This system, or its limit on watches, does not allow it: look now and then instead."""


class Watch:
    """Folders in which something may appear. Not safe for threads; close it."""

    def __init__(self) -> None:
        """Begin with no folder.

        Raises:
            Unwatchable.
        """
        if sys.platform != "linux":
            raise Unwatchable
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise Unwatchable(os.strerror(ctypes.get_errno()))
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        #: False once a folder is gone: then nothing tells of what comes into its successor.
        self.is_complete = True

    def add(self, folder: Path) -> None:
        """Wake also for this folder. What comes before this returns may go unnoticed.

        Raises:
            Unwatchable.
        """
        added = self._libc.inotify_add_watch(
            self._descriptor, os.fsencode(folder), _MOVED_TO | _ONLYDIR
        )
        if added < 0:
            raise Unwatchable(os.strerror(ctypes.get_errno()))

    def wait(self, seconds: float) -> None:
        """Return when something came since the last call, or after `seconds`."""
        if self._poll.poll(seconds * 1000):
            self._read()

    def close(self) -> None:
        """Stop watching. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        events = b""
        with contextlib.suppress(BlockingIOError):
            events = os.read(self._descriptor, _EVENTS_BYTES)
        offset = 0
        while offset < len(events):
            _, mask, _, name_bytes = _HEADER.unpack_from(events, offset)
            offset += _HEADER.size + name_bytes
            if mask & _IGNORED:
                self.is_complete = False
