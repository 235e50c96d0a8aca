"""Processor time of processes and all they started: what noise hardly moves (Linux)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds(roots: Iterable[int]) -> float:
    """Return the processor seconds of these processes, their descendants and ended children."""
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
    waiting, total = list(roots), 0.0
    while waiting:
        pid = waiting.pop()
        total += spent.get(pid, 0.0)
        waiting += children[pid]
    return total
