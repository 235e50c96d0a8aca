"""One empty room in reserve: locks shut, ONNX Runtime loaded, no model seen yet.

An idle node closes its models' rooms (120 MB with the built-in detector) and keeps this one
(50 MB, half of it shared with the node), so that the next model is open in a third of a second.
A room that has seen a model is never used for another.
"""

from __future__ import annotations

import threading

from workers import sandbox
from workers.sandbox import Room, RoomLimits


class Spare:
    """At most one room in reserve. Safe for threads."""

    def __init__(self, room_limits: RoomLimits | None = None) -> None:
        self._limits = room_limits or RoomLimits()
        self._lock = threading.Lock()
        self._room: Room | None = None
        self._is_wanted = False

    def take(self) -> Room:
        """Return the room in reserve, or a new one; it belongs to the caller.

        Raises:
            sandbox.RoomUnavailable.
        """
        with self._lock:
            room, self._room, self._is_wanted = self._room, None, False
        if room is not None and room.is_alive:
            return room
        if room is not None:
            room.close()
        return sandbox.start_room(room_limits=self._limits)

    def prepare(self) -> None:
        """Put a room in reserve, unless there is one.

        Raises:
            sandbox.RoomUnavailable.
        """
        with self._lock:
            if self._is_wanted:
                return
            self._is_wanted = True
        try:
            room = sandbox.start_room(room_limits=self._limits)
        except sandbox.RoomUnavailable:
            self.drop()
            raise
        with self._lock:
            is_kept = self._is_wanted and self._room is None
            if is_kept:
                self._room = room
        if not is_kept:  # somebody opened a model or had to rest meanwhile
            room.close()

    def drop(self) -> None:
        """Give the memory of the reserve back as well."""
        with self._lock:
            room, self._room, self._is_wanted = self._room, None, False
        if room is not None:
            room.close()
