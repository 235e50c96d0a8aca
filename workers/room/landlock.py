"""Landlock: from here on no file can be opened, no TCP port reached, nobody outside signalled.

A room needs no file any more once its libraries are loaded and its model comes through the
pipe, so all rights are handled and no rule is added. Source: Linux,
include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from workers.room import kernel

_VERSION_FLAG: Final = 1
#: Rights on files that each ABI version added, as the number of known bits.
_FILE_BITS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_SINCE: Final = 4
_TCP_BIND_CONNECT: Final = 0b11
_SCOPES_SINCE: Final = 6
_ABSTRACT_SOCKETS_SIGNALS: Final = 0b11


def abi() -> int:
    """Return the kernel's version of Landlock; 0 when it has none or it is switched off."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict() -> int:
    """Take all rights from this thread and what it starts; return the ABI version used.

    Needs PR_SET_NO_NEW_PRIVS. Open files and pipes stay usable.

    Raises:
        OSError: nothing was restricted.
    """
    version = abi()
    if version == 0:
        raise OSError(0, "the kernel has no Landlock")
    attributes = ctypes.create_string_buffer(_attributes(version))
    size = len(attributes) - 1  # without the buffer's closing zero
    ruleset = kernel.call("landlock_create_ruleset", attributes, size, 0)
    try:
        kernel.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def covers(version: int) -> str:
    """Say what a version restricts."""
    parts = ["files"]
    if version >= _TCP_SINCE:
        parts.append("TCP")
    if version >= _SCOPES_SINCE:
        parts.append("abstract sockets and signals")
    return f"ABI {version}: {', '.join(parts)}"


def _attributes(version: int) -> bytes:
    """Return struct landlock_ruleset_attr, as long as the version knows it."""
    bits = max(count for since, count in _FILE_BITS.items() if since <= version)
    fields = [(1 << bits) - 1]
    if version >= _TCP_SINCE:
        fields.append(_TCP_BIND_CONNECT)
    if version >= _SCOPES_SINCE:
        fields.append(_ABSTRACT_SOCKETS_SIGNALS)
    return struct.pack(f"<{len(fields)}Q", *fields)
