"""Bytes under their own SHA-256: put once, never changed, read by signed link.

The same bytes from two clients are one blob, so who may read a blob is decided by the rows
that point to it (`portal.access`), or by a signed link that names one digest, one audience
and a time.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.core.signing import BadSignature, Signer

from tasks.errors import Refused
from tasks.models import Blob
from workers.protocol import digests, pictures

#: Longer sides that thumbnails are made for, pixels.
THUMBNAIL_SIDES = (160, 240, 480, 960, 1600)
THUMBNAIL_MEDIA_TYPE = "image/webp"
#: WebP quality 0..100: artefacts stay invisible under drawn boxes.
_THUMBNAIL_QUALITY = 80
_SALT = "nodefolk.blobs"


class UrlAltered(Refused):
    """The link is not one of ours, or was changed."""

    code, status = "url_altered", 403


class UrlExpired(Refused):
    """The link was good once; ask for a new one."""

    code, status = "url_expired", 410


def put(data: bytes, *, media_type: str) -> Blob:
    """Store `data`; the same bytes again give the same blob, with its first media type.

    The row appears only after the file is safe on disk, and a file is there whole or not at
    all, so two writers of the same bytes do each other no harm. Not for use inside a
    transaction: a file is written.

    Raises:
        ValueError: there are no bytes.
    """
    if not data:
        raise ValueError("A blob is not empty.")
    digest = digests.digest(data)
    if not _is_whole(location(digest), size_bytes=len(data)):
        _write(location(digest), data)
    blob, _ = Blob.objects.get_or_create(
        digest=digest, defaults={"size_bytes": len(data), "media_type": media_type}
    )
    return blob


def location(digest: str) -> str:
    """Return the name of the bytes in the default storage.

    Raises:
        ValueError: that is not a digest, and might be a path.
    """
    if not digests.is_digest(digest):
        raise ValueError("That is not a digest.")
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


def exists(digest: str) -> bool:
    """Say whether the bytes are there."""
    return default_storage.exists(location(digest))


def read(digest: str) -> bytes:
    """Return all bytes.

    Raises:
        FileNotFoundError: they are not there.
    """
    return _read(location(digest))


def open_stream(digest: str) -> File[bytes]:
    """Open the bytes for reading, with their `size`; the caller closes.

    Raises:
        FileNotFoundError: they are not there.
    """
    return default_storage.open(location(digest))


def thumbnail(digest: str, *, side: int) -> bytes:
    """Return the picture as WebP, its longer side at most `side` pixels, upright.

    Made on first use and kept beside the blob; a small picture is not made larger.

    Raises:
        ValueError: `side` is none of `THUMBNAIL_SIDES`.
        pictures.Unreadable: the blob is no picture.
        FileNotFoundError: the blob is not there.
    """
    if side not in THUMBNAIL_SIDES:
        raise ValueError(f"There are no thumbnails of {side} pixels.")
    name = f"{location(digest)}.{side}.webp"
    try:
        return _read(name)
    except FileNotFoundError:
        data = _shrink(read(digest), side=side)
        _write(name, data)
        return data


def sign_url(*, digest: str, audience: str, expires_at: datetime) -> str:
    """Return an absolute link to one blob, good until `expires_at` (whole seconds).

    `audience` says for whom it was made (a node's id); it is not secret and not checked
    against the one who comes with it, but cannot be changed.
    """
    expires = str(int(expires_at.timestamp()))
    query = {
        "audience": audience,
        "expires": expires,
        "signature": _sign(digest, audience, expires),
    }
    return f"{settings.PUBLIC_URL}/blobs/{digest}?{urlencode(query)}"


def check_url(digest: str, params: Mapping[str, str], *, now: datetime) -> None:
    """Check the query of a link to `digest`; in constant time, whatever was altered.

    Raises:
        UrlAltered: any part was changed, or is missing.
        UrlExpired: it was right, but its time is over.
    """
    audience, expires = params.get("audience", ""), params.get("expires", "")
    signed = _signed_text(digest, audience, expires)
    try:
        # Takes links made before a change of key, too (SECRET_KEY_FALLBACKS).
        is_ours = _signer().unsign(f"{signed}:{params.get('signature', '')}") == signed
    except (BadSignature, UnicodeError):  # the latter: half a surrogate pair
        is_ours = False
    if not is_ours:
        raise UrlAltered("The link is not one of ours, or was changed.")
    if int(expires) <= now.timestamp():
        raise UrlExpired("The link is no longer good.")


def _sign(digest: str, audience: str, expires: str) -> str:
    return _signer().signature(_signed_text(digest, audience, expires))


def _signer() -> Signer:
    return Signer(salt=_SALT)


def _signed_text(digest: str, audience: str, expires: str) -> str:
    """Return the three as one text that no other three give."""
    return json.dumps([digest, audience, expires])


def _shrink(data: bytes, *, side: int) -> bytes:
    image = pictures.read(data).image
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _read(name: str) -> bytes:
    with default_storage.open(name) as file:
        return bytes(file.read())


def _is_whole(name: str, *, size_bytes: int) -> bool:
    """Say whether the file is there with its length; a shorter one is written again."""
    try:
        return default_storage.size(name) == size_bytes
    except FileNotFoundError:
        return False


def _write(name: str, data: bytes) -> None:
    """Write the file whole or not at all, over one that is there."""
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:  # object stores are atomic by themselves
        kept_as = default_storage.save(name, ContentFile(data))
        if kept_as != name:  # somebody was first, with the same bytes
            default_storage.delete(kept_as)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
