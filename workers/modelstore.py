"""Models on disk, by digest, the least recently used removed first."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections import defaultdict
from pathlib import Path

import httpx

from workers import transfer
from workers.protocol import digests, limits


class NoSpace(Exception):
    """The model does not fit into the cache's limit or onto the disk."""


class ModelStore:
    """A folder of models. Safe for threads; one process owns the folder."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in folder.glob(".*.part"):
            draft.unlink()

    def set_bytes_max(self, bytes_max: int) -> None:
        """Change the room; models over it go when the next one comes."""
        self._bytes_max = bytes_max

    def digests(self) -> list[str]:
        """Return what is here, the most recently used first, as many as a message may name."""
        newest_first = sorted(self._files(), key=lambda path: -path.stat().st_mtime_ns)
        return [path.name for path in newest_first[: limits.CACHED_MODELS_MAX]]

    def find(self, digest: str) -> Path | None:
        """Return the model's file and count it as used now; None when it is not here."""
        path = self._folder / digest
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, *, digest: str, size_bytes: int, url: str, client: httpx.Client) -> Path:
        """Return the model's file, fetched unless it is here; one download at a time each.

        Raises:
            transfer.TransferFailed: it could not be had.
            NoSpace: it does not fit.
        """
        with self._fetching[digest]:
            found = self.find(digest)
            if found is not None:
                return found
            self._make_room(size_bytes)
            return self._fetch(digest=digest, size_bytes=size_bytes, url=url, client=client)

    def remove(self, digest: str) -> None:
        """Forget a model, for example one that the disk damaged."""
        (self._folder / digest).unlink(missing_ok=True)

    def _fetch(self, *, digest: str, size_bytes: int, url: str, client: httpx.Client) -> Path:
        draft = self._folder / f".{uuid.uuid4().hex}.part"
        try:
            with draft.open("wb") as sink:
                transfer.fetch_into(sink, url, digest=digest, size_bytes=size_bytes, client=client)
            draft.chmod(0o600)
            return draft.replace(self._folder / digest)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace("The disk is full.") from exc
            raise
        finally:
            draft.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes > self._bytes_max:
            raise NoSpace(f"The model is larger than the cache's {self._bytes_max} bytes.")
        with self._lock:
            files = sorted(self._files(), key=lambda path: path.stat().st_mtime_ns)
            total = sum(path.stat().st_size for path in files)
            for path in files:
                if total + size_bytes <= self._bytes_max:
                    return
                total -= path.stat().st_size
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _files(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if digests.is_digest(path.name)]
