"""The rooms of one model: kept warm, replaced when they die, hang or lie.

A model whose room failed three times in the same way is not tried again on this node.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from workers import sandbox
from workers.room.tensors import Tensors, TensorSpec
from workers.sandbox import Room, RoomFailed, RoomLimits
from workers.spare import Spare

logger = logging.getLogger(__name__)

#: So many failures of the same kind and the model is left alone.
STRIKES_MAX = 3
#: Failures remembered at all.
REMEMBERED_MAX = 1000


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The tensors of a model, as declared; nothing else passes in or out of its room."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Strikes:
    """How often a model's room failed, by model and signature. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._out: dict[str, str] = {}

    def add(self, digest: str, signature: str) -> None:
        """Count a failure."""
        with self._lock:
            if len(self._counts) >= REMEMBERED_MAX:
                self._counts.clear()
            self._counts[digest, signature] += 1
            if self._counts[digest, signature] >= STRIKES_MAX and len(self._out) < REMEMBERED_MAX:
                self._out[digest] = signature

    def check(self, digest: str) -> None:
        """See that the model may still be tried.

        Raises:
            sandbox.Unusable.
        """
        with self._lock:
            signature = self._out.get(digest)
        if signature is not None:
            raise sandbox.Unusable(f"Failed {STRIKES_MAX} times here in the same way: {signature}.")


class Rooms:
    """One model in as many rooms as threads run it at once. Safe for threads."""

    def __init__(
        self,
        *,
        digest: str,
        path: Path,
        declared: Declared,
        is_built_in: bool = False,
        room_limits: RoomLimits | None = None,
        strikes: Strikes | None = None,
        spare: Spare | None = None,
    ) -> None:
        """`spare` is where rooms come from; new ones with `room_limits` when None."""
        self._digest = digest
        self._path = path
        self._declared = declared
        self._is_built_in = is_built_in
        self._spare = spare or Spare(room_limits)
        self._strikes = strikes or Strikes()
        self._lock = threading.Lock()
        self._is_retired = False
        self._is_closed = False
        self._all: set[Room] = set()
        self._free: list[Room] = []
        self._used_at = time.monotonic()
        #: Which of the declared inputs the model has; known once it is open.
        self.takes: frozenset[str] = frozenset()

    def open(self) -> None:
        """Get the first room ready.

        Raises:
            sandbox.Corrupt, sandbox.Unusable, sandbox.OutOfMemory, sandbox.NotLocked,
            sandbox.RoomFailed, sandbox.RoomUnavailable.
        """
        self._give_back(self._open())

    @property
    def idle_seconds(self) -> float:
        """For how long no room was used; 0 while one is."""
        with self._lock:
            is_used = len(self._all) > len(self._free)
            return 0.0 if is_used else time.monotonic() - self._used_at

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Tensors:
        """Return the declared outputs; a room that failed is replaced at the next call.

        Raises:
            As `open`.
        """
        room = self._take()
        try:
            outputs = room.run(inputs)
        except sandbox.Unusable:
            self._give_back(room)
            raise
        except RoomFailed as exc:
            self._forget(room)
            self._count(exc)
            raise
        except BaseException:
            self._forget(room)
            raise
        self._give_back(room)
        return outputs

    def retire(self) -> None:
        """Keep no free room any more; who still runs the model is not disturbed."""
        with self._lock:
            self._is_retired = True
            free, self._free = self._free, []
        for room in free:
            self._forget(room)

    def close(self) -> None:
        """Close all rooms; what is being computed or opened in one fails at once."""
        with self._lock:
            self._is_closed = True
            for room in self._all.difference(self._free):
                room.kill()
        self.retire()

    def _take(self) -> Room:
        """Return a free room, or one more."""
        while True:
            with self._lock:
                room = self._free.pop() if self._free else None
            if room is None:
                return self._open()
            if room.is_alive and not room.is_worn:
                return room
            logger.info("a room is replaced", extra={"model_digest": self._digest})
            self._forget(room)

    def _open(self) -> Room:
        self._strikes.check(self._digest)
        room = self._spare.take()
        try:
            self._remember(room)
            room.load(
                self._path,
                digest=self._digest,
                inputs=self._declared.inputs,
                outputs=self._declared.outputs,
                is_built_in=self._is_built_in,
            )
        except BaseException as exc:
            self._forget(room)
            if isinstance(exc, RoomFailed):
                self._count(exc)
            raise
        self.takes = room.takes
        return room

    def _remember(self, room: Room) -> None:
        """Let `close` know of the room, unless it was called already."""
        with self._lock:
            if self._is_closed:
                raise sandbox.RoomUnavailable("The rooms are closed.")
            self._all.add(room)

    def _count(self, failure: RoomFailed) -> None:
        """Note a failure, unless it is our own doing.

        Raises:
            sandbox.Unusable: it was one too many.
        """
        if self._is_closed:
            return
        logger.warning("a room failed: %s", failure, extra={"model_digest": self._digest})
        self._strikes.add(self._digest, failure.signature)
        self._strikes.check(self._digest)

    def _give_back(self, room: Room) -> None:
        with self._lock:
            self._used_at = time.monotonic()
            is_kept = not self._is_retired
            if is_kept:
                self._free.append(room)
        if not is_kept:
            self._forget(room)

    def _forget(self, room: Room) -> None:
        with self._lock:
            self._all.discard(room)
        room.close()
