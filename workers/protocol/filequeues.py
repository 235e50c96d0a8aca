"""The files behind the embedded broker: routing tables and message queues.

Layout: `exchanges/<name>.json` is a type with its bindings, changed under a lock;
`queues/<name>/<time>-<count>-<random>.msg` is one message. Every file is written under
another name and renamed, so no reader ever sees half of one. Unlinking a message is
what takes it: of many readers exactly one succeeds.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import time
import uuid
from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Names become file names: no separators, no leading dot.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
MESSAGE_SUFFIX = ".msg"

_count = itertools.count()


class BadName(ValueError):
    """An exchange or queue name that cannot be a file name."""


class Binding(NamedTuple):
    """One row of a routing table: kombu's key, compiled pattern and queue."""

    routing_key: str
    pattern: str
    queue: str


class RoutingTable(TypedDict):
    """What the broker knows about one exchange; `type` is None until it is declared."""

    type: str | None
    bindings: list[list[str]]


class Exchanges:
    """The routing tables in a folder; every change is one locked read and rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def read(self, exchange: str) -> RoutingTable:
        """Return the table, an empty one of no type when the exchange is unknown."""
        try:
            table: RoutingTable = json.loads(self._file(exchange).read_bytes())
        except FileNotFoundError:
            return {"type": None, "bindings": []}
        return table

    @contextlib.contextmanager
    def edit(self, exchange: str) -> Iterator[RoutingTable]:
        """Yield the table under its lock and write it back when the block ends well."""
        file = self._file(exchange)
        with file.with_suffix(".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            table = self.read(exchange)
            yield table
            _write_atomically(file, json.dumps(table).encode())

    def bind(self, exchange: str, binding: Binding) -> None:
        """Add the row unless it is there."""
        with self.edit(exchange) as table:
            if list(binding) not in table["bindings"]:
                table["bindings"].append(list(binding))

    def unbind(self, exchange: str, binding: Binding) -> None:
        """Remove the row if it is there."""
        with self.edit(exchange) as table:
            table["bindings"] = [row for row in table["bindings"] if row != list(binding)]

    def forget(self, queue: str) -> None:
        """Remove every row that leads to the queue."""
        for exchange in self.names():
            with self.edit(exchange) as table:
                table["bindings"] = [row for row in table["bindings"] if row[2] != queue]

    def delete(self, exchange: str) -> None:
        self._file(exchange).unlink(missing_ok=True)

    def _file(self, exchange: str) -> Path:
        return self._folder / f"{_checked(exchange)}.json"


class Queues:
    """The messages in a folder, oldest first. One instance belongs to one channel."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: defaultdict[str, deque[str]] = defaultdict(deque)
        folder.mkdir(parents=True, exist_ok=True)

    def folder_of(self, queue: str) -> Path:
        """Return where the queue's messages are renamed to."""
        return self._folder / _checked(queue)

    def is_declared(self, queue: str) -> bool:
        return self.folder_of(queue).is_dir()

    def declare(self, queue: str, *, ttl_ms: int | None) -> None:
        """Make the queue; like RabbitMQ, keep the first declaration's TTL."""
        if self.is_declared(queue):
            return
        if ttl_ms is not None:
            _write_atomically(self._ttl_file(queue), str(ttl_ms).encode())
        self.folder_of(queue).mkdir(exist_ok=True)

    def put(self, queue: str, payload: bytes, *, name: str) -> None:
        """Store a message; one for an unknown queue is dropped, as an unroutable one is."""
        with contextlib.suppress(FileNotFoundError):
            _write_atomically(self.folder_of(queue) / name, payload)

    def take(self, queue: str) -> tuple[str, bytes] | None:
        """Remove and return the name and payload of the oldest living message."""
        folder, listed = self.folder_of(queue), self._listed[queue]
        if not listed:
            listed.extend(self._living(queue))
        while listed:
            name = listed.popleft()
            try:
                payload = (folder / name).read_bytes()
                (folder / name).unlink()
            except FileNotFoundError:
                continue  # another reader was first
            return name, payload
        return None

    def size(self, queue: str) -> int:
        return len(self._names(queue))

    def purge(self, queue: str) -> int:
        """Remove all waiting messages and return how many this call removed."""
        return sum(_unlink(self.folder_of(queue) / name) for name in self._names(queue))

    def delete(self, queue: str) -> None:
        """Remove the queue in one step, so that no writer can refill half of it."""
        grave = self._folder / f".deleted-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            self.folder_of(queue).rename(grave)
            shutil.rmtree(grave)
        self._ttl_file(queue).unlink(missing_ok=True)

    def _living(self, queue: str) -> list[str]:
        """List the messages in order and remove those older than the queue's TTL."""
        names = self._names(queue)
        if not names or not self._ttl_file(queue).exists():
            return names
        oldest_ns = time.time_ns() - int(self._ttl_file(queue).read_text()) * 1_000_000
        expired = [name for name in names if int(name.partition("-")[0]) < oldest_ns]
        for name in expired:
            _unlink(self.folder_of(queue) / name)
        return names[len(expired) :]

    def _names(self, queue: str) -> list[str]:
        try:
            names = os.listdir(self.folder_of(queue))  # noqa: PTH208 -- names are enough, and much faster
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(MESSAGE_SUFFIX))

    def _ttl_file(self, queue: str) -> Path:
        return self._folder / f".{_checked(queue)}.ttl"


def message_name() -> str:
    """Return a fresh file name; names of one process sort in the order they were made."""
    return f"{time.time_ns():020d}-{next(_count):010d}-{uuid.uuid4().hex}{MESSAGE_SUFFIX}"


def _checked(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise BadName(name)
    return name


def _unlink(path: Path) -> bool:
    """Remove the file and say whether this call did it."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target and rename: readers see the old file or the new one."""
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
    draft.write_bytes(content)
    draft.replace(path)
