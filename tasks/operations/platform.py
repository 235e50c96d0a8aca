"""The platform as a whole: whether it gives out work, and when it was last swept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tasks.models import Platform


def read() -> Platform:
    """Return how it stands; an unsaved row before anything was written. One query."""
    return Platform.objects.filter(pk=Platform.THE_ONE).first() or Platform()


def is_drained() -> bool:
    """Say whether no new work is given out. One query."""
    return Platform.objects.filter(pk=Platform.THE_ONE, drained_at__isnull=False).exists()


def lock() -> Platform:
    """Return the row, locked. Runs inside the caller's transaction."""
    Platform.objects.get_or_create(pk=Platform.THE_ONE)
    return Platform.objects.select_for_update().get(pk=Platform.THE_ONE)


def note_sweep(found: Mapping[str, int], *, now: datetime) -> None:
    """Write down that a sweep has ended and what it found. One statement, two at first."""
    fields = {"swept_at": now, "swept": dict(found)}
    if not Platform.objects.filter(pk=Platform.THE_ONE).update(**fields):
        Platform.objects.bulk_create(
            [Platform(pk=Platform.THE_ONE, **fields)], ignore_conflicts=True
        )
