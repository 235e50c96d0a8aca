"""Memory that an idle node gives back to the computer."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time

from workers.sessions import Sessions

#: Sessions stay open this long after the last work, seconds. Opening one again takes about
#: a third of a second, mostly while the job is being announced.
KEEP_SECONDS = 120


class Keeper:
    """Closes the sessions of a node that has had no work for a while.

    An open session of the built-in detector holds about 200 MB in its room. Owned by one
    thread.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._busy_at = time.monotonic()

    def look(self, *, is_busy: bool, is_resting: bool) -> bool:
        """Give memory back when it is time; say whether that was done.

        A node that must not work gives it back at once.
        """
        now = time.monotonic()
        if is_busy:
            self._busy_at = now
            return False
        if not is_resting and now - self._busy_at < KEEP_SECONDS:
            return False
        if self._sessions.close_idle() == 0:
            return False
        trim()
        return True


def trim() -> None:
    """Hand free memory back to the system; opening a session leaves 80 MB of it behind."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
