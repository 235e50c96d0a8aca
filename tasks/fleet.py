"""Which nodes are there, and which of them may be given work now."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count, F, IntegerField, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from tasks.models import Node, Replica
from workers.protocol import limits

#: A node is online while its last sign of life is younger than two idle heartbeats.
ONLINE = timedelta(seconds=2 * limits.HEARTBEAT_IDLE_SECONDS + 30)


def online(*, now: datetime) -> QuerySet[Node]:
    """Return active nodes heard of lately that say they are ready, in no order."""
    return Node.objects.filter(state=Node.State.ACTIVE, reason="", last_seen_at__gte=now - ONLINE)


def online_count(*, now: datetime) -> int:
    """Return how many nodes could take work now; one query."""
    return online(now=now).count()


def free_for(*, job_id: str, owner_id: int, now: datetime) -> list[Node]:
    """Return nodes that acknowledged the job and have free slots, idlest first.

    Each has the attribute `held`: leases it holds. A client's own nodes are left out: no
    one checks their own work. One query, over replica_held_by_node.
    """
    return list(
        online(now=now)
        .filter(acks__job_id=job_id)
        .exclude(owner_id=owner_id)
        .annotate(
            held=Coalesce(
                Count("replicas", filter=Q(replicas__state=Replica.State.LEASED)),
                Value(0),
                output_field=IntegerField(),
            )
        )
        .filter(held__lt=F("slots"))
        .order_by("held", "pk")
    )
