"""API keys: made, found by their text, revoked. Shown once; only a hash is kept.

A key reads `nf_<10 base32>_<43 urlsafe>`: the first part names it on screens, the second
holds 256 random bits, so a plain SHA-256 is enough and one indexed look-up finds the row.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from django.db.models import Q, QuerySet

from portal.models import ApiKey, User
from tasks import ids
from tasks.errors import Refused

#: What a key may do, and the sentence shown beside its box.
SCOPES = MappingProxyType(
    {
        "read": "See everything of yours; change nothing.",
        "jobs": "Upload pictures, ask for quotes, start and steer jobs.",
        "nodes": "Enrol machines and steer them.",
        "wallet": "See balance, movements and statements.",
        "keys": "List, make and revoke API keys.",
    }
)

NAME_LENGTH_MAX = 80
#: Keys in use, per user.
KEYS_MAX = 100
#: The time of last use is written at most this often, so that reading stays reading.
TOUCH_EVERY = timedelta(minutes=1)

_TEXT = re.compile(r"nf_[0-9a-z]{10}_[A-Za-z0-9_-]{43}")
_PREFIX_LENGTH = len("nf_") + 10


class BadName(Refused):
    """A key's name has 1 to 80 characters."""

    code, field = "invalid_name", "name"


class UnknownScope(Refused):
    """A scope that does not exist, or none at all."""

    code, field = "unknown_scope", "scopes"


class BadExpiry(Refused):
    """The time at which the key should end has passed."""

    code, field = "expiry_passed", "expires_at"


class TooManyKeys(Refused):
    """The user has as many keys as are allowed."""

    code, status = "too_many_keys", 409


class UnknownKey(Refused):
    """The user has no such key, or it was revoked before."""

    code, status = "not_found", 404


@dataclass(frozen=True, kw_only=True)
class CreatedKey:
    """A new key; `secret` is its whole text and is never to be had again."""

    key: ApiKey
    secret: str


def create(
    *,
    user: User,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    now: datetime,
) -> CreatedKey:
    """Make a key that speaks for the user.

    Raises:
        BadName: empty or longer than `NAME_LENGTH_MAX`.
        UnknownScope: none, or one outside `SCOPES`.
        BadExpiry: `expires_at` is not in the future.
        TooManyKeys: `KEYS_MAX` are in use.
    """
    if not 0 < len(name) <= NAME_LENGTH_MAX:
        raise BadName(f"A name has 1 to {NAME_LENGTH_MAX} characters.")
    if not scopes or not set(scopes) <= SCOPES.keys():
        raise UnknownScope(f"One or more of {', '.join(SCOPES)}.")
    if expires_at is not None and expires_at <= now:
        raise BadExpiry("The key would have ended already.")
    if _usable(now).filter(user=user).count() >= KEYS_MAX:
        raise TooManyKeys(f"At most {KEYS_MAX} keys; revoke one first.")
    secret = f"nf_{_readable()}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        key_hash=_digest(secret),
        scopes=[scope for scope in SCOPES if scope in scopes],
        created_at=now,
        expires_at=expires_at,
    )
    return CreatedKey(key=key, secret=secret)


def find(secret: str, now: datetime) -> ApiKey | None:
    """Return the usable key with this text and its user, or None; notes the use.

    None also for a key of a user who may not sign in. One query, and once a minute a second.
    """
    if _TEXT.fullmatch(secret) is None:
        return None
    key = (
        _usable(now)
        .filter(key_hash=_digest(secret), user__is_active=True)
        .select_related("user")
        .first()
    )
    if key is not None and (key.last_used_at is None or key.last_used_at <= now - TOUCH_EVERY):
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def revoke(*, key_id: str, user: User, now: datetime) -> ApiKey:
    """End a key at once.

    Raises:
        UnknownKey: not the user's, or revoked before.
    """
    revoked = ApiKey.objects.filter(pk=key_id, user=user, revoked_at=None).update(revoked_at=now)
    if revoked == 0:
        raise UnknownKey("There is no such key.")
    return ApiKey.objects.get(pk=key_id)


def _usable(now: datetime) -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def _readable() -> str:
    return "".join(secrets.choice(ids.ALPHABET) for _ in range(10))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
