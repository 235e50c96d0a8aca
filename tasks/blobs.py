"""Bytes under their own SHA-256: put once, read by whoever holds a signed link."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.base import ContentFile
from django.utils.crypto import constant_time_compare, salted_hmac

from tasks.models import Blob
from workers.protocol import digests, pictures

SALT = "nodefolk.blobs"
THUMBNAIL_SIDES = (240, 480, 960)


class UrlAltered(Exception):
    """The link was not made by us, or was changed."""


class UrlExpired(Exception):
    """The link was good once."""


def put(data: bytes, *, media_type: str) -> Blob:
    """Store `data`; the same bytes again give the same blob."""
    digest = digests.digest(data)
    if not exists(digest):
        default_storage.save(location(digest), ContentFile(data))
    blob, _ = Blob.objects.get_or_create(
        digest=digest, defaults={"size_bytes": len(data), "media_type": media_type}
    )
    return blob


def location(digest: str) -> str:
    """Return where the bytes are in the storage."""
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


def exists(digest: str) -> bool:
    """Say whether the bytes are there."""
    return default_storage.exists(location(digest))


def read(digest: str) -> bytes:
    """Return all bytes."""
    with default_storage.open(location(digest)) as file:
        return bytes(file.read())


def open_stream(digest: str) -> BinaryIO:
    """Open the bytes for reading."""
    return default_storage.open(location(digest))  # type: ignore[return-value]


def sign_url(*, digest: str, audience: str, expires_at: datetime) -> str:
    """Return a link to one blob for one audience, good until `expires_at`."""
    expires = str(int(expires_at.timestamp()))
    query = urlencode(
        {"audience": audience, "expires": expires, "signature": _sign(digest, audience, expires)}
    )
    return f"{settings.PUBLIC_URL}/blobs/{digest}?{query}"


def check_url(digest: str, params: Mapping[str, str], *, now: datetime) -> None:
    """Check a link's query.

    Raises:
        UrlAltered, UrlExpired.
    """
    audience, expires = params.get("audience", ""), params.get("expires", "")
    expected = _sign(digest, audience, expires)
    if not constant_time_compare(expected, params.get("signature", "")):
        raise UrlAltered
    if int(expires) < now.timestamp():
        raise UrlExpired


def _sign(digest: str, audience: str, expires: str) -> str:
    return salted_hmac(SALT, f"{digest}:{audience}:{expires}", algorithm="sha256").hexdigest()
