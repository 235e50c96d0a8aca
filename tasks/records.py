"""What the platform believes of nodes, as their operators see it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks import chunking
from tasks.models import Credibility
from tasks.verification import credibility


@dataclass(frozen=True, kw_only=True)
class Record:
    """A node's record for one model version."""

    model_id: str
    model_name: str
    #: `Credibility.State`; quarantine that is over is "watched", one by staff never is.
    state: str
    #: Checks passed since the last strike.
    checks: float
    #: At least this probably an unchecked answer is right, 0..1.
    credibility: float
    strikes: int
    #: No work of this model until then; null: it may work.
    barred_until: datetime | None
    #: Milliseconds a picture took of late, as learned from its accepted answers; null: unknown.
    image_ms: float | None
    #: Staff keep it from the model, and what they say of it.
    is_kept_by_staff: bool = False
    staff_note: str = ""

    @property
    def doubt(self) -> float:
        """At most this probably an unchecked answer is wrong, 0..1."""
        return 1 - self.credibility

    @property
    def images_in_time(self) -> int | None:
        """How many pictures it computes in the time that a chunk may take."""
        return None if self.image_ms is None else chunking.images_in_time(self.image_ms)


def of_nodes(node_ids: Sequence[str], *, now: datetime) -> dict[str, list[Record]]:
    """Return the records of each node, by the models' names; one query for any number."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    rows = Credibility.objects.filter(node__in=node_ids).select_related("model")
    for row in rows.order_by("model__name", "pk"):
        found[row.node_id].append(_record(row, now=now))
    return dict(found)


def _record(row: Credibility, *, now: datetime) -> Record:
    is_over = row.barred_until is not None and row.barred_until <= now
    state = Credibility.State.WATCHED if is_over else row.state
    checks = row.checks_tenths / 10
    return Record(
        model_id=row.model_id,
        model_name=row.model.name,
        state=state if row.quarantined_at is None else Credibility.State.QUARANTINED,
        checks=checks,
        credibility=credibility.of_checks(checks),
        strikes=row.strikes,
        barred_until=None if is_over else row.barred_until,
        image_ms=None if row.image_ms is None else round(row.image_ms, 1),
        is_kept_by_staff=row.quarantined_at is not None,
        staff_note=row.quarantine_note,
    )
