"""Memory that an idle node gives back to the computer."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time

from workers.sessions import Sessions

#: Sessions stay open this long after the last work, seconds. Opening one again in the spare
#: room takes a third of a second, mostly while the job is being announced.
KEEP_SECONDS = 30


#: malloc.h: how many regions threads allocate from.
_M_ARENA_MAX = -8


class Keeper:
    """Closes the sessions of a node that has had no work for a while.

    An open session of the built-in detector holds about 120 MB in its room, 180 while it
    computes. Owned by one thread.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._busy_at = time.monotonic()

    def look(self, *, is_busy: bool, is_resting: bool) -> bool:
        """Give memory back when it is time; say whether a spare room is wanted now.

        A node that must not work gives all back at once, the spare room included.
        """
        now = time.monotonic()
        if is_busy:
            self._busy_at = now
            return False
        if is_resting:
            self._sessions.spare.drop()
        elif now - self._busy_at < KEEP_SECONDS:
            return False
        if self._sessions.close_idle() == 0:
            return False
        trim()
        return not is_resting


def share() -> None:
    """Let all threads allocate from one region; call before they start.

    By default each of a node's threads has one of its own, 5 MB together that are not used.
    """
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Hand free memory back to the system; opening a session leaves 80 MB of it behind."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
