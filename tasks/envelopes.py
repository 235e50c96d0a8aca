"""Read a hostile message's envelope without dying of it.

py-amqp parses properties and headers while it reads the socket, with no guard: a timestamp
beyond the year 9999, a content type that is no UTF-8 or arrays nested 20,000 deep raise out
of `drain_events`. The broker would then deliver the message again, and it would end one
ingest process after the other until its delivery limit. (kombu's own message goes further:
it inflates a body whose header names a compression.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp import serialization, spec

Loader = Callable[[Any, int], tuple[dict[str, Any], int]]

BASIC = spec.Basic.CLASS_ID


def guard() -> None:
    """Let this process take an envelope that cannot be read for an empty one.

    Without `user_id` such a message is dropped like any other whose sender is not proven.
    Again changes nothing.
    """
    loaders: dict[int, Any] = serialization.PROPERTY_CLASSES
    if not isinstance(loaders[BASIC], _Guarded):
        loaders[BASIC] = _Guarded(loaders[BASIC])


class _Guarded:
    """py-amqp's loader of a message's properties; any failure means none."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __call__(self, buffer: Any, offset: int) -> tuple[dict[str, Any], int]:
        try:
            return self._loader(buffer, offset)
        except Exception:  # noqa: BLE001  # whatever a stranger's bytes lead to, logged nowhere
            return {}, len(buffer)
