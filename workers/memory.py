"""Memory that a busy node keeps at hand, and an idle one gives back to the computer."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time

from workers.protocol import limits
from workers.sessions import Sessions

#: malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX, and what they are set to.
MALLOC_OPTIONS = ((-1, 64 * limits.MIB), (-3, 32 * limits.MIB), (-8, 1))
#: Sessions stay open this long after the last work, seconds. Opening one again in the spare
#: room takes a third of a second, mostly while the job is being announced.
KEEP_SECONDS = 30


def keep_blocks() -> None:
    """Let freed picture-sized blocks be used again, in one heap for all threads.

    Otherwise each picture's 5 MB come fresh from the system, page by page: a fifth of what
    a node spends on a picture besides computing; and each thread has a region of its own,
    5 MB together that are not used. `trim` gives them back. Call before threads start.
    """
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        libc = ctypes.CDLL(None)
        for option, value in MALLOC_OPTIONS:
            libc.mallopt(option, value)


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


def trim() -> None:
    """Hand free memory back to the system; opening a session leaves 80 MB of it behind."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
