"""The platform's own Ed25519 key, which signs everything sent to nodes."""

from __future__ import annotations

import os
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from workers.protocol import signatures

#: Raw private key, bytes.
KEY_BYTES = 32


class PlatformKeyUnreadable(Exception):
    """The file named by NODEFOLK_PLATFORM_KEY does not hold 32 bytes."""


def platform_key() -> Ed25519PrivateKey:
    """Return the platform's key, made on first use.

    Raises:
        PlatformKeyUnreadable: the file holds something else.
    """
    path: Path = settings.PLATFORM_KEY_PATH
    if not path.exists():
        _create(path)
    return read_key(path)


def platform_public_key() -> str:
    """Return the public half, base64 of 32 bytes; nodes pin it at enrolment."""
    return signatures.public_text(platform_key())


def next_key_path() -> Path:
    """Return the file of the key that follows, made on first use."""
    path: Path = settings.PLATFORM_KEY_PATH
    draft = path.with_name(f"{path.name}.next")
    if not draft.exists():
        _create(draft)
    return draft


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in `path`.

    Raises:
        PlatformKeyUnreadable: the file holds something else.
    """
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: Path, _changed_at: int) -> Ed25519PrivateKey:
    """Read the file once for each time it was changed, so that a new key needs no restart."""
    raw = path.read_bytes()
    if len(raw) != KEY_BYTES:
        raise PlatformKeyUnreadable(f"{path} does not hold {KEY_BYTES} bytes.")
    return Ed25519PrivateKey.from_private_bytes(raw)


def _create(path: Path) -> None:
    """Write a new key; of several processes at once, the first one's stays.

    The link makes the finished file appear at once, so nobody reads half a key. Each
    draft has a name of its own: a shared one would be the linked file itself, and its
    next writer would empty it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
