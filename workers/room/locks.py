"""The locks of a room: which there are, and shutting them from inside, once, in order.

Each lock is tried; the keeper is told which hold and decides what may be computed so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from workers.room import kernel, landlock, seccomp

LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"
NETWORK: Final = "network_namespace"
RLIMITS: Final = "rlimits"
PRIVILEGES: Final = "no_new_privileges"
CAPABILITIES: Final = "no_capabilities"
PARENT: Final = "dies_with_parent"
DUMPABLE: Final = "not_dumpable"
PRIORITY: Final = "lowest_priority"
#: In the order in which a room names them.
NAMES: Final = (
    LANDLOCK,
    SECCOMP,
    NETWORK,
    RLIMITS,
    PRIVILEGES,
    CAPABILITIES,
    PARENT,
    DUMPABLE,
    PRIORITY,
)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL: Final = 9
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3: Final = 0x20080522
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13
_NICENESS: Final = 19
_NICENESS_LOW: Final = 10
#: The pipes, the outputs that lead nowhere, and what shutting the locks takes for a moment.
_FILES_MAX: Final = 8
_OOM_FIRST: Final = b"1000"


class Unlockable(Exception):
    """The process is in a state in which locks would not hold."""


def shut(
    *,
    parent: int,
    memory_bytes: int,
    cpu_seconds: int,
    priority: str,
    without: Collection[str] = (),
) -> list[str]:
    """Shut all locks there are, those in `without` left open, and return which hold.

    Raises:
        Unlockable: other threads run, which would stay outside.
    """
    if _thread_count() > 1:
        raise Unlockable("Locks hold for one thread, and there are several.")
    steps: list[tuple[str, Callable[[], object]]] = []
    if SECCOMP in without or not seccomp.is_present():
        steps.append((NETWORK, _leave_network))
    # A change of privileges would undo the parent's signal, so it comes after.
    steps += [
        (CAPABILITIES, _drop_capabilities),
        (PARENT, lambda: _die_with(parent)),
        (RLIMITS, lambda: _limit(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)),
    ]
    if priority == "idle":
        steps.append((PRIORITY, _step_back))
    elif priority == "low":
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS_LOW)
    # What is written to /proc/self comes before this and before Landlock.
    steps += [
        (DUMPABLE, lambda: kernel.prctl(_PR_SET_DUMPABLE, 0)),
        (PRIVILEGES, lambda: kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        (LANDLOCK, landlock.restrict),
        (SECCOMP, seccomp.restrict),
    ]
    return [name for name, step in steps if name not in without and _holds(step)]


def _holds(step: Callable[[], object]) -> bool:
    try:
        step()
    except (OSError, ValueError):
        return False
    return True


def _thread_count() -> int:
    folder = Path("/proc/self/task")
    return len(list(folder.iterdir())) if folder.exists() else 1


def _die_with(parent: int) -> None:
    """Be killed when the keeper ends, however it ends."""
    kernel.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        raise SystemExit


def _limit(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Bound memory, CPU time and open files; no new process or thread, no byte into a file."""
    for name, limit in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_DATA", memory_bytes),
        ("RLIMIT_CPU", cpu_seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", _FILES_MAX),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
    ):
        kind = getattr(resource, name, None)
        if kind is not None:
            _lower(kind, limit)


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _step_back() -> None:
    """Give way to everything else: processor, disk, and memory when it runs out."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    if sys.platform == "linux":
        # A session of its own makes an autogroup, inside of which niceness would end.
        _write("/proc/self/autogroup", str(_NICENESS).encode())
        _write("/proc/self/oom_score_adj", _OOM_FIRST)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        kernel.call("ioprio_set", _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)


def _write(path: str, text: bytes) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_bytes(text)


def _leave_network() -> None:
    """Move to a network without any interface, as root or through a user namespace."""
    try:
        kernel.call("unshare", _CLONE_NEWNET)
    except OSError:
        kernel.call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)


def _drop_capabilities() -> None:
    """Give up what root may do beyond others."""
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0))
    kernel.call("capset", header, ctypes.create_string_buffer(struct.pack("<6I", *[0] * 6)))
