"""What a node may expect to earn: what it could at most, and what nodes did earn lately."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum

from payments import pricing
from tasks.models import Node, Replica

LATELY = timedelta(hours=24)
#: Fewer working nodes than this would tell too much about each.
NODES_MIN = 3


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A range, not a promise; money in minor units."""

    #: By the node's own measure, of one slot.
    images_per_second: float
    slots: int
    #: Were there work without a pause.
    hour_minor_max: int
    #: The middle of what nodes that worked earned in the last 24 hours; None for too few.
    day_minor_median: int | None
    working_nodes: int


def of_node(node: Node, *, now: datetime) -> Outlook | None:
    """Return what this node may expect; None before it has told its speed. One query."""
    speed = float(node.profile.get("images_per_second", 0))
    if speed <= 0:
        return None
    reward = pricing.reward_minor(kind="detect", images=1)
    earned = [
        row["total"]
        for row in Replica.objects.filter(
            state=Replica.State.ACCEPTED, reported_at__gte=now - LATELY
        )
        .order_by()
        .values("node")
        .annotate(total=Sum("reward_minor"))
    ]
    median = round(statistics.median(earned)) if len(earned) >= NODES_MIN else None
    return Outlook(
        images_per_second=speed,
        slots=node.slots,
        hour_minor_max=int(speed * node.slots * 3600) * reward,
        day_minor_median=median,
        working_nodes=len(earned),
    )
