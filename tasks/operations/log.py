"""Who did what; every action of staff writes its line here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import connection

from tasks.models import StaffAction

#: What `target` says of an action on everything.
PLATFORM = "platform"
NOTE_LENGTH_MAX = 200
#: Lines shown on a page.
SHOWN_MAX = 12


def record(
    *,
    staff_id: int,
    verb: StaffAction.Verb,
    target: str,
    now: datetime,
    note: str = "",
    detail: Mapping[str, object] | None = None,
) -> StaffAction:
    """Write the line of an action. Runs inside the action's own transaction."""
    assert connection.in_atomic_block
    return StaffAction.objects.create(
        staff_id=staff_id,
        verb=verb,
        target=target,
        note=clean(note),
        detail=dict(detail or {}),
        created_at=now,
    )


def clean(note: str) -> str:
    """Return the note as it is kept: one line, not too long."""
    return " ".join(note.split())[:NOTE_LENGTH_MAX]


def newest(*, target: str | None = None) -> list[StaffAction]:
    """Return the newest lines, of one target or of all. One query."""
    # Uses index: staff_action_by_target, or the primary key.
    rows = StaffAction.objects.select_related("staff")
    if target is not None:
        rows = rows.filter(target=target)
    return list(rows.order_by("-pk")[:SHOWN_MAX])
