"""Processor time of processes and all they started: what noise hardly moves (Linux)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds(roots: Iterable[int]) -> tuple[float, float]:
    """Return the processor seconds of these processes and of their descendants.

    Children that ended and were waited for count as their parents' own time.
    """
    children: dict[int, list[int]] = defaultdict(list)
    spent: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it ended while we looked
        fields = text.rpartition(")")[2].split()
        children[int(fields[1])].append(int(folder.name))
        # Own time and that of children it has waited for, user and system.
        spent[int(folder.name)] = sum(int(field) for field in fields[11:15]) / _TICKS
    own = set(roots)
    waiting, below = [child for pid in own for child in children[pid]], 0.0
    while waiting:
        pid = waiting.pop()
        below += 0.0 if pid in own else spent.get(pid, 0.0)
        waiting += children[pid]
    return sum(spent.get(pid, 0.0) for pid in own), below


class Meter:
    """Processor time of named groups of processes between two looks.

    `apart`: groups whose descendants are counted by themselves, and their name.
    """

    def __init__(
        self, groups: Mapping[str, list[int]], *, apart: Mapping[str, str] | None = None
    ) -> None:
        self._groups = groups
        self._apart = apart or {}
        self._before = self._look()

    def _look(self) -> dict[str, float]:
        found = {}
        for name, pids in self._groups.items():
            own, below = seconds(pids)
            if name in self._apart:
                found |= {name: own, self._apart[name]: below}
            else:
                found[name] = own + below
        return found

    def milliseconds(self, *, units: int) -> dict[str, float]:
        """Return what each group has spent since, for a unit of work."""
        now = self._look()
        return {name: 1000 * (now[name] - self._before[name]) / units for name in now}
