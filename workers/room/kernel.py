"""System calls that Python has no function for; Linux on x86-64 and 64-bit ARM."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

#: Only these machines' numbers are known here; elsewhere no lock of this kind is held.
MACHINE: Final = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
    platform.machine(), ""
)
IS_KNOWN: Final = sys.platform == "linux" and bool(MACHINE) and sys.maxsize > 2**32
#: Numbers by name: x86-64 (asm/unistd_64.h), 64-bit ARM (asm-generic/unistd.h).
NUMBERS: Final = {
    name: (pair[0] if MACHINE == "x86_64" else pair[1])
    for name, pair in {
        "capset": (126, 91),
        "ioprio_set": (251, 30),
        "landlock_create_ruleset": (444, 444),
        "landlock_restrict_self": (446, 446),
        "seccomp": (317, 277),
        "unshare": (272, 97),
    }.items()
}

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Make a system call and return its answer.

    Raises:
        OSError: the kernel refuses, or the machine is not one that is known.
    """
    if not IS_KNOWN:
        raise OSError(0, "not a machine whose system calls are known")
    answer: int = _libc.syscall(
        ctypes.c_long(NUMBERS[name]),
        *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments),
    )
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return answer


def prctl(option: int, *arguments: object) -> int:
    """Call prctl, the arguments left out being 0.

    Raises:
        OSError.
    """
    if sys.platform != "linux":
        raise OSError(0, "no prctl here")
    padded = [*arguments, 0, 0, 0, 0][:4]
    answer: int = _libc.prctl(
        ctypes.c_int(option),
        *(ctypes.c_ulong(each) if isinstance(each, int) else each for each in padded),
    )
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
    return answer
