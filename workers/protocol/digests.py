"""SHA-256 digests, as 64 lower-case hex digits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

PATTERN = re.compile(r"[0-9a-f]{64}")


def digest(data: bytes) -> str:
    """Return the digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_stream(chunks: Iterable[bytes]) -> str:
    """Return the digest of the concatenated `chunks`."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def is_digest(text: str) -> bool:
    """Say whether `text` is written like a digest."""
    return PATTERN.fullmatch(text) is not None
