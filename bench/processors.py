"""Processor time of processes and all they started: what noise hardly moves (Linux)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
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
