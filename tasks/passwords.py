"""A node's broker password: made by us, long, shown once, kept only as a hash.

The hash has RabbitMQ's own form (4 bytes of salt, SHA-256), so that it can also be handed
to a broker that keeps logins itself. A slow hash would gain nothing: 256 random bits
cannot be guessed, and each login of each node asks for one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

PASSWORD_BYTES = 32
SALT_BYTES = 4
#: What an unknown user's password is compared with, so that the answer takes as long.
NOBODY = base64.b64encode(bytes(SALT_BYTES + 32)).decode()


def make() -> str:
    """Return a new password, 43 URL-safe characters."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def hashed(password: str) -> str:
    """Return base64 of salt and SHA-256, 48 characters; another salt each time."""
    salt = secrets.token_bytes(SALT_BYTES)
    return base64.b64encode(salt + _digest(salt, password)).decode()


def matches(password: str, kept: str) -> bool:
    """Say whether `kept` is the hash of `password`, in the same time for any answer.

    An empty password or hash matches nothing.
    """
    raw = base64.b64decode(kept or NOBODY)
    salt, digest = raw[:SALT_BYTES], raw[SALT_BYTES:]
    is_equal = hmac.compare_digest(_digest(salt, password), digest)
    return is_equal and bool(password) and bool(kept)


def _digest(salt: bytes, password: str) -> bytes:
    return hashlib.sha256(salt + password.encode(errors="replace")).digest()
