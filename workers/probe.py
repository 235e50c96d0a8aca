"""What this machine is like just now, read from /proc and /sys; nothing leaves it.

Each reading is None where the machine does not tell. Programs that were started with a low
priority (`nice`), our own slots among them, do not count as somebody using the computer.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workers.permission import Readings
from workers.protocol import limits

#: Sensors of the processor; others (disks, batteries) have limits of their own.
SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz"})
#: Networks that are paid by volume unless somebody says otherwise: modems and tethering.
METERED_PREFIXES = ("wwan", "ppp", "rmnet", "usb", "bnep")
#: Celsius beyond which a sensor is broken, not hot.
CELSIUS_MAX = 150
TEXT_BYTES_MAX = 64 * limits.KIB


@dataclass(frozen=True)
class _Times:
    """Clock ticks since boot: foreground work of all, and everything."""

    busy: int
    total: int


class Probe:
    """Reads the machine below `root`; `home` is where disk space matters."""

    def __init__(self, *, home: Path, root: Path = Path("/")) -> None:
        self._home = home
        self._root = root
        self._times: _Times | None = None

    def read(self, *, skew_seconds: float | None, with_programs: bool) -> Readings:
        """Return what is so now; the processor's use is since the last reading."""
        return Readings(
            seconds=time.monotonic(),
            local=datetime.now().astimezone(),
            busy_percent=self._busy_percent(),
            input_idle_seconds=self._input_idle_seconds(),
            is_on_battery=self._is_on_battery(),
            celsius=self._celsius(),
            is_metered=self._is_metered(),
            memory_free_bytes=self._kib_of(self._root / "proc/meminfo", "MemAvailable"),
            own_memory_bytes=self._kib_of(self._root / "proc/self/status", "VmRSS"),
            disk_free_bytes=self._disk_free_bytes(),
            programs=self._programs() if with_programs else frozenset(),
            skew_seconds=skew_seconds,
        )

    def _busy_percent(self) -> float | None:
        before, self._times = self._times, self._read_times()
        if before is None or self._times is None or self._times.total <= before.total:
            return None
        busy = self._times.busy - before.busy
        return max(0.0, min(100.0, 100 * busy / (self._times.total - before.total)))

    def _read_times(self) -> _Times | None:
        """Read user, nice, system, idle, iowait, irq, softirq of all cores (proc(5))."""
        words = _text(self._root / "proc/stat").partition("\n")[0].split()
        if len(words) < 8 or words[0] != "cpu":
            return None
        user, nice, system, idle, iowait, irq, softirq = (int(word) for word in words[1:8])
        busy = user + system + irq + softirq
        # What the kernel did for our own niced threads is nobody's use of the computer.
        own = int(os.times().system * os.sysconf("SC_CLK_TCK"))
        return _Times(busy=busy - own, total=busy + nice + idle + iowait)

    def _input_idle_seconds(self) -> float | None:
        """Return how long ago a key reached a terminal: reading one notes the time."""
        newest = 0.0
        for path in _entries(self._root / "dev/pts"):
            with contextlib.suppress(OSError):
                if path.name.isdecimal():
                    newest = max(newest, path.stat().st_atime)
        return None if newest == 0 else max(0.0, time.time() - newest)

    def _is_on_battery(self) -> bool | None:
        supplies = _entries(self._root / "sys/class/power_supply")
        states = [
            _text(path / "status").strip()
            for path in supplies
            if _text(path / "type").strip() == "Battery"
            # A mouse's battery says nothing about the computer.
            and _text(path / "scope").strip() != "Device"
        ]
        return "Discharging" in states if states else None

    def _celsius(self) -> float | None:
        found = []
        for folder in _entries(self._root / "sys/class/hwmon"):
            if _text(folder / "name").strip() in SENSORS:
                found += [path for path in _entries(folder) if _is_input(path.name)]
        found += [path / "temp" for path in _entries(self._root / "sys/class/thermal")]
        degrees = [int(text) / 1000 for path in found if _is_number(text := _text(path).strip())]
        return max((each for each in degrees if 0 < each < CELSIUS_MAX), default=None)

    def _is_metered(self) -> bool | None:
        """Look at the interface of the default route."""
        for line in _text(self._root / "proc/net/route").splitlines()[1:]:
            words = line.split()
            if len(words) > 1 and words[1] == "00000000":
                return words[0].startswith(METERED_PREFIXES)
        return None

    def _kib_of(self, path: Path, name: str) -> int | None:
        for line in _text(path).splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * limits.KIB
        return None

    def _disk_free_bytes(self) -> int | None:
        try:
            found = os.statvfs(self._home)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    def _programs(self) -> frozenset[str]:
        processes = (path for path in _entries(self._root / "proc") if path.name.isdecimal())
        return frozenset(_text(path / "comm").strip() for path in processes)


def _entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from folder.iterdir()


def _text(path: Path) -> str:
    """Return the start of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""


def _is_input(name: str) -> bool:
    return name.startswith("temp") and name.endswith("_input")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
