"""Bounded downloads: as many bytes as promised, with the promised digest, from that host.

A signed URL names one digest. Whatever else a server answers (longer, shorter, other
bytes, another host) is thrown away.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable
from typing import BinaryIO

import httpx

from workers.throttle import Throttle, ThrottledTransport

logger = logging.getLogger(__name__)

ATTEMPTS_MAX = 3
#: Pause before the second and third attempt, seconds.
BACKOFF_SECONDS = (0.3, 1.5)
REDIRECTS_MAX = 3
#: Silence of the server after which an attempt fails, seconds.
SILENCE_SECONDS_MAX = 15
#: Slowest acceptable download over its whole length, bytes per second, beyond a first minute.
RATE_BYTES_MIN = 32 * 1024
GRACE_SECONDS = 60
PART_BYTES = 64 * 1024


class TransferFailed(Exception):
    """The bytes were not had; `code` is the report's reason."""

    code = "download_failed"


class WrongSize(TransferFailed):
    """The server sends more or fewer bytes than promised."""

    code = "size_mismatch"


class WrongDigest(TransferFailed):
    """The bytes are not those the digest names."""

    code = "digest_mismatch"


class _Temporary(Exception):
    """Worth another attempt."""


def make_client(throttle: Throttle | None = None) -> httpx.Client:
    """Return the client that all downloads share; safe for threads."""
    connections = httpx.Limits(max_connections=16, max_keepalive_connections=8)
    return httpx.Client(
        timeout=httpx.Timeout(SILENCE_SECONDS_MAX),
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        transport=ThrottledTransport(throttle or Throttle(), connections=connections),
    )


def fetch(url: str, *, digest: str, size_bytes: int, client: httpx.Client) -> bytes:
    """Return exactly `size_bytes` bytes with that digest.

    Raises:
        TransferFailed: or a subclass; nothing was kept.
    """
    sink = io.BytesIO()
    fetch_into(sink, url, digest=digest, size_bytes=size_bytes, client=client)
    return sink.getvalue()


def fetch_into(
    sink: BinaryIO,
    url: str,
    *,
    digest: str,
    size_bytes: int,
    client: httpx.Client,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write exactly `size_bytes` bytes with that digest to `sink`, from its start.

    Only silence and a server's own trouble (5xx, 429) are tried again. After an error the
    sink holds rubbish.

    Raises:
        TransferFailed: or a subclass.
    """
    last = ""
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            sleep(BACKOFF_SECONDS[attempt - 1])
        sink.seek(0)
        sink.truncate()
        try:
            _attempt(sink, url, digest=digest, size_bytes=size_bytes, client=client)
        except (_Temporary, httpx.TransportError) as exc:
            logger.info("download attempt failed", extra={"attempt": attempt, "error": str(exc)})
            last = str(exc) or type(exc).__name__
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransferFailed(str(exc)) from exc
        else:
            return
    raise TransferFailed(last)


def _attempt(
    sink: BinaryIO, url: str, *, digest: str, size_bytes: int, client: httpx.Client
) -> None:
    target = httpx.URL(url)
    for _ in range(REDIRECTS_MAX + 1):
        with client.stream("GET", target) as response:
            if not response.has_redirect_location:
                _check_head(response, size_bytes)
                _copy(response, sink, digest=digest, size_bytes=size_bytes)
                return
            target = _redirect(target, response.headers["location"])
    raise TransferFailed("Too many redirects.")


def _redirect(origin: httpx.URL, location: str) -> httpx.URL:
    target = origin.join(location)
    if (target.scheme, target.host, target.port) != (origin.scheme, origin.host, origin.port):
        raise TransferFailed("The server redirects to another host.")
    return target


def _check_head(response: httpx.Response, size_bytes: int) -> None:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise _Temporary(f"HTTP {status}")
    if status != httpx.codes.OK:
        raise TransferFailed(f"The server answers HTTP {status}.")
    promised = response.headers.get("content-length")
    if promised is not None and promised != str(size_bytes):
        raise WrongSize(f"The server promises {promised} bytes instead of {size_bytes}.")


def _copy(response: httpx.Response, sink: BinaryIO, *, digest: str, size_bytes: int) -> None:
    """Copy as sent, never inflated, and stop at the first byte too many or second too late."""
    state = hashlib.sha256()
    received = 0
    started = time.monotonic()
    for part in response.iter_raw(PART_BYTES):
        received += len(part)
        if received > size_bytes:
            raise WrongSize(f"The server sends more than the promised {size_bytes} bytes.")
        if time.monotonic() - started > GRACE_SECONDS + received / RATE_BYTES_MIN:
            raise TransferFailed("The download is too slow.")
        state.update(part)
        sink.write(part)
    if received < size_bytes:
        raise _Temporary(f"{received} of {size_bytes} bytes")
    if state.hexdigest() != digest:
        raise WrongDigest("The bytes have another digest.")
