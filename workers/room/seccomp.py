"""seccomp: a list of the system calls that computing needs; every other answers EPERM.

The list is what ONNX Runtime and Python call between two messages, with no way to open, start,
signal or map anything executable. A room has one thread and starts no other.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from workers.room import kernel

#: (x86-64, 64-bit ARM).
_ALLOWED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "getcpu": (309, 168),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
#: How Python waits for a pipe; 64-bit ARM has only the second.
_WAITING: Final = {"x86_64": (7, 271), "aarch64": (73,)}
#: Allowed without PROT_EXEC in the third argument.
_MAPPING: Final = {"mmap": (9, 222), "mprotect": (10, 226)}
#: Allowed towards this very process: how a C++ library ends after a fault.
_SIGNALLING: Final = (234, 131)
_PROT_EXEC: Final = 4

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARGUMENTS: Final = 16
#: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JSET|BPF_K, BPF_RET|BPF_K.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM: Final = 1

_GET_ACTION_AVAIL: Final = 2
_SET_MODE_FILTER: Final = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def is_present() -> bool:
    """Say whether the kernel takes filters that answer with an error (Linux 4.14)."""
    wanted = ctypes.c_uint32(_ERRNO)
    try:
        kernel.call("seccomp", _GET_ACTION_AVAIL, 0, ctypes.byref(wanted))
    except OSError:
        return False
    return True


def restrict() -> None:
    """Put the filter on this process for ever. Needs PR_SET_NO_NEW_PRIVS.

    Raises:
        OSError: the filter is not in force.
    """
    code = program(os.getpid())
    buffer = ctypes.create_string_buffer(code)
    given = _Program(len(code) // 8, ctypes.addressof(buffer))
    kernel.call("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(given))


def program(pid: int) -> bytes:
    """Return the filter as BPF instructions of 8 bytes: code, two jumps, a number."""
    choice = 0 if kernel.MACHINE == "x86_64" else 1
    steps = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH[kernel.MACHINE]),
        # Another instruction set's numbers would mean other calls.
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
    ]
    for number in [pair[choice] for pair in _ALLOWED.values()] + [*_WAITING[kernel.MACHINE]]:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for pair in _MAPPING.values():
        steps += [
            (_EQUAL, 0, 4, pair[choice]),
            (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 2 * 8),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _ERRNO | _EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    steps += [
        (_EQUAL, 0, 3, _SIGNALLING[choice]),
        (_LOAD, 0, 0, _OFFSET_ARGUMENTS),
        (_EQUAL, 0, 1, pid),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
