"""Watches what the operator allows and what the machine is like; says what changed.

Owned by the node's ticking thread. `look` is called twice a second and is cheap: files are
read again only when their time changes, the machine is probed every two seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from workers import config, control, events, reasons
from workers.config import Home
from workers.permission import Permission, Readings
from workers.protocol import messages
from workers.protocol.allowance import Effective

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2.0


class Senses(Protocol):
    """What tells how the machine is: `workers.probe.Probe`, or a test's."""

    def read(self, *, skew_seconds: float | None, with_programs: bool) -> Readings: ...


class Steering:
    """What holds for this node now. Not safe for threads, but for `skew_seconds`."""

    def __init__(
        self,
        *,
        home: Home,
        slots_max: int,
        probe: Senses,
        obey: Callable[[Effective], None],
    ) -> None:
        """`obey` is told of each new set of limits, to set cache size and speed."""
        self._home = home
        self._slots_max = slots_max
        self._probe = probe
        self._obey = obey
        self._permission = Permission()
        self._probe_due = 0.0
        self._stamp: tuple[int, int] | None = None
        self._is_read = False
        #: The file was damaged from the start: what it allows is unknown, so nothing is.
        self._is_closed = False
        self._allowance = control.DEFAULT
        self._settings = control.read_settings(home)
        self._told: events.AllowanceChanged | None = None
        self._told_reason = ""
        self._machine_reason = ""
        #: Our clock minus the platform's, set by whoever asked the portal.
        self.skew_seconds: float | None = None
        #: What is wrong with limits.toml; the limits before hold on.
        self.trouble = ""

    def keep(self, settings: messages.NodeSettings) -> None:
        """Take over what the page asks for, also when it cannot be stored.

        Then the platform sends it again after the next start.
        """
        self._settings = control.PageSettings(
            revision=settings.revision, is_paused=settings.is_paused, wishes=settings.wishes
        )
        try:
            control.write_settings(self._home, self._settings)
        except OSError as exc:
            logger.warning("the page's settings cannot be stored: %s", exc)

    def look(self, *, now: datetime, images_per_second: float) -> list[events.Event]:
        """Return what changed since the last look, the allowance before the permission."""
        self._read_limits()
        allowed = control.effective(self._allowance, self._settings)
        found: list[events.Event] = []
        changed = self._allowance_event(allowed, images_per_second)
        if changed != self._told:
            self._told = changed
            self._obey(allowed)
            self._probe_due = 0.0
            found.append(changed)
        reason = self._reason(allowed, now)
        if reason != self._told_reason:
            self._told_reason = reason
            found.append(events.PermissionChanged(reason))
        return found

    def _reason(self, allowed: Effective, now: datetime) -> str:
        if time.monotonic() >= self._probe_due:
            self._probe_due = time.monotonic() + PROBE_SECONDS
            readings = self._probe.read(
                skew_seconds=self.skew_seconds, with_programs=bool(allowed.exclusive_programs)
            )
            self._machine_reason = self._permission.judge(readings, allowed)
        if config.is_paused(self._home, now=now):
            return reasons.PAUSED
        if self._is_closed:
            return reasons.BAD_LIMITS
        return reasons.PAUSED_ON_PAGE if self._settings.is_paused else self._machine_reason

    def _allowance_event(
        self, allowed: Effective, images_per_second: float
    ) -> events.AllowanceChanged:
        return events.AllowanceChanged(
            slots=min(self._slots_max, allowed.cores or self._slots_max),
            kinds=None if allowed.kinds is None else frozenset(allowed.kinds),
            categories=(
                None if allowed.client_categories is None else frozenset(allowed.client_categories)
            ),
            settings_revision=self._settings.revision,
            profile=messages.Profile(
                allowance=self._allowance, images_per_second=images_per_second
            ),
        )

    def _read_limits(self) -> None:
        """Read limits.toml when it is new; one damaged while we run changes nothing."""
        stamp = self._file_stamp()
        if self._is_read and stamp == self._stamp:
            return
        is_first, self._is_read, self._stamp = not self._is_read, True, stamp
        try:
            self._allowance = control.read_limits(self._home)
            self.trouble, self._is_closed = "", False
        except control.BadLimits as exc:
            self.trouble, self._is_closed = str(exc), self._is_closed or is_first
            logger.warning("limits not understood, the last ones hold: %s", exc)

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            found = self._home.limits_file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
