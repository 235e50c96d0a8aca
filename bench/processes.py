"""What a process and all it started take of the machine, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True)
class Sample:
    """A process tree at one moment; memory in MiB."""

    #: Sum of what each maps: pages that two share count twice.
    rss_mib: float
    #: The same with shared pages divided among those who share them: what would be freed.
    pss_mib: float
    processes: int
    files: int
    threads: int
    #: Of the processes that are there now and of the dead children they waited for.
    cpu_seconds: float


def look(pid: int) -> Sample:
    """Read the tree below `pid`."""
    every = tree(pid)
    rollups = [_numbers(Path(f"/proc/{each}/smaps_rollup")) for each in every]
    return Sample(
        rss_mib=sum(each.get("Rss", 0) for each in rollups) / _KIB,
        pss_mib=sum(each.get("Pss", 0) for each in rollups) / _KIB,
        processes=len(every),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=_numbers(Path(f"/proc/{pid}/status"))["Threads"],
        cpu_seconds=sum(_cpu_seconds(each) for each in every),
    )


def tree(pid: int) -> list[int]:
    """Return the process and all below it, parents first."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children += [int(word) for word in (task / "children").read_text().split()]
        except FileNotFoundError:  # the thread has ended
            continue
    return [pid, *(each for child in children for each in tree(child))]


def _numbers(path: Path) -> dict[str, int]:
    """Return the lines `Name:  123 kB` of a file; of a process that has ended, none."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if len(words) > 1 and words[0].endswith(":") and words[1].isdecimal()
    }


def _cpu_seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(word) for word in words[11:15]) / os.sysconf("SC_CLK_TCK")
