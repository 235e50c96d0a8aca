"""Why a model is not run here; what goes wrong with a room that runs is in `child`."""

from __future__ import annotations


class Corrupt(Exception):
    """The file is not there, or not the model its digest names."""


class Unusable(Exception):
    """The runtime in the room refuses the model or its inputs."""


class OutOfMemory(Exception):
    """The model or its inputs do not fit into the room's memory."""


class NotLocked(Exception):
    """This machine has not the locks that a model of other people needs."""


class RoomUnavailable(Exception):
    """No room could be made; the model has nothing to do with it."""
