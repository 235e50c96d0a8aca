"""May the node work now? A pure policy over what a probe read, with hysteresis.

A cause must hold for a while before work stops, and be gone for longer before it starts
again; and each measured cause clears at another value than it trips at. So a load that
swings around a limit stops the node once, not every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from workers import reasons
from workers.protocol import limits
from workers.protocol.allowance import Effective

#: Others' use of the processor, percent of all cores, that means somebody is at work
#: (BOINC's default), and what it must fall below again.
BUSY_PERCENT = 25.0
CALM_PERCENT = 15.0
#: Since the last key in a terminal; after that nobody is there any more.
INPUT_SECONDS = 180.0
CELSIUS_BACK = 5
#: Free memory must exceed what was asked for by this much before work starts again.
MEMORY_BACK = 1.2
DISK_FREE_BYTES_MIN = 100 * limits.MIB
DISK_FREE_BYTES_BACK = 200 * limits.MIB
#: Half of what the platform accepts, so that the operator hears of it before work is lost.
SKEW_SECONDS_MAX = limits.CLOCK_SKEW_SECONDS_MAX / 2


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What a probe saw; None where this machine cannot tell, which never stops work."""

    #: Monotonic seconds.
    seconds: float
    local: datetime
    #: Processor time used by programs that do not give way, percent of all cores.
    busy_percent: float | None = None
    input_idle_seconds: float | None = None
    is_on_battery: bool | None = None
    celsius: float | None = None
    is_metered: bool | None = None
    memory_free_bytes: int | None = None
    own_memory_bytes: int | None = None
    disk_free_bytes: int | None = None
    #: Names of running programs; only filled when some are exclusive.
    programs: frozenset[str] = frozenset()
    #: Our clock minus the platform's.
    skew_seconds: float | None = None


Test = Callable[[Readings, Effective], bool]


@dataclass(frozen=True)
class Cause:
    """One reason to rest: when it holds, and how long before each change, seconds."""

    reason: str
    holds: Test
    #: The same with the value it must fall back to; asked while the node rests for it.
    still_holds: Test
    stop_after: float
    start_after: float


class Permission:
    """Remembers how long each cause has held or been gone. Not safe for threads."""

    def __init__(self) -> None:
        self._is_resting: dict[str, bool] = {}
        self._differs_since: dict[str, float] = {}

    def judge(self, readings: Readings, allowed: Effective) -> str:
        """Return why the node must rest, as a code; empty when it may work."""
        active = [cause.reason for cause in CAUSES if self._update(cause, readings, allowed)]
        return active[0] if active else ""

    def _update(self, cause: Cause, readings: Readings, allowed: Effective) -> bool:
        was = self._is_resting.get(cause.reason, False)
        holds = (cause.still_holds if was else cause.holds)(readings, allowed)
        if holds == was:
            self._differs_since.pop(cause.reason, None)
            return was
        since = self._differs_since.setdefault(cause.reason, readings.seconds)
        if readings.seconds - since < (cause.start_after if was else cause.stop_after):
            return was
        del self._differs_since[cause.reason]
        self._is_resting[cause.reason] = holds
        return holds


def _is_outside_schedule(now: Readings, allowed: Effective) -> bool:
    return not allowed.is_open(now.local)


def _is_on_battery(now: Readings, allowed: Effective) -> bool:
    return not allowed.battery and now.is_on_battery is True


def _is_hot(now: Readings, allowed: Effective, *, back: int = 0) -> bool:
    if allowed.celsius is None or now.celsius is None:
        return False
    return now.celsius > allowed.celsius - back


def _is_metered(now: Readings, allowed: Effective) -> bool:
    return not allowed.metered and now.is_metered is True


def _has_exclusive_program(now: Readings, allowed: Effective) -> bool:
    return not now.programs.isdisjoint(allowed.exclusive_programs)


def _is_used(now: Readings, allowed: Effective, *, percent: float = BUSY_PERCENT) -> bool:
    if not allowed.only_when_idle:
        return False
    is_busy = now.busy_percent is not None and now.busy_percent > percent
    is_there = now.input_idle_seconds is not None and now.input_idle_seconds < INPUT_SECONDS
    return is_busy or is_there


def _is_short_of_memory(now: Readings, allowed: Effective, *, back: float = 1.0) -> bool:
    is_scarce = (
        allowed.memory_free_mib is not None
        and now.memory_free_bytes is not None
        and now.memory_free_bytes < allowed.memory_free_mib * limits.MIB * back
    )
    is_large = (
        allowed.memory_mib is not None
        and now.own_memory_bytes is not None
        and now.own_memory_bytes > allowed.memory_mib * limits.MIB / back
    )
    return is_scarce or is_large


def _is_disk_full(now: Readings, _allowed: Effective, *, least: int = DISK_FREE_BYTES_MIN) -> bool:
    return now.disk_free_bytes is not None and now.disk_free_bytes < least


def _is_clock_wrong(now: Readings, _allowed: Effective) -> bool:
    return now.skew_seconds is not None and abs(now.skew_seconds) > SKEW_SECONDS_MAX


#: In the order in which they are told when several hold.
CAUSES = (
    Cause(reasons.SCHEDULE, _is_outside_schedule, _is_outside_schedule, 0, 0),
    Cause(reasons.CLOCK_SKEW, _is_clock_wrong, _is_clock_wrong, 0, 0),
    Cause(
        reasons.DISK_FULL, _is_disk_full, partial(_is_disk_full, least=DISK_FREE_BYTES_BACK), 0, 30
    ),
    Cause(reasons.BATTERY, _is_on_battery, _is_on_battery, 0, 30),
    Cause(reasons.METERED, _is_metered, _is_metered, 0, 30),
    Cause(reasons.TOO_HOT, _is_hot, partial(_is_hot, back=CELSIUS_BACK), 5, 60),
    Cause(reasons.EXCLUSIVE_PROGRAM, _has_exclusive_program, _has_exclusive_program, 0, 30),
    Cause(
        reasons.MEMORY_LOW,
        _is_short_of_memory,
        partial(_is_short_of_memory, back=MEMORY_BACK),
        5,
        30,
    ),
    Cause(reasons.USER_ACTIVE, _is_used, partial(_is_used, percent=CALM_PERCENT), 10, 60),
)
