"""Which nodes are there, and which of them may be given work now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, IntegerField, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Right

from tasks import allowances, pace
from tasks.models import CatalogModel, Credibility, Node, Replica
from tasks.reasons import NodeReason
from workers.protocol import limits

#: A node is online while its last sign of life is younger than two idle heartbeats.
ONLINE = timedelta(seconds=2 * limits.HEARTBEAT_IDLE_SECONDS + 30)
#: A heartbeat may be this long under way without its clock being called wrong.
CLOCK_ERROR_MS_MIN = 5_000
#: Two heartbeats of a node at work, spread as they are: then it is not there, or we do not hear.
SILENT = timedelta(seconds=2.2 * limits.HEARTBEAT_BUSY_SECONDS)
#: Nodes whose pace must be known before it is believed rather than the trial run's.
PACES_MIN = 3
#: Of a larger fleet so many are sample enough.
PACES_MAX = 5000


def online(*, now: datetime) -> QuerySet[Node]:
    """Return active nodes heard of lately that say they are ready, in no order.

    Not those that staff give no work.
    """
    return Node.objects.filter(
        state=Node.State.ACTIVE,
        reason="",
        last_seen_at__gte=now - ONLINE,
        drained_at=None,
        quarantined_at=None,
    )


def serving(client_category: str, *, now: datetime) -> QuerySet[Node]:
    """Return the nodes online whose limits let them work for such clients, in no order.

    What a job of theirs may count on: to the others it is not given (`matching`).
    """
    return allowances.serving(online(now=now), client_category=client_category)


def online_count(*, now: datetime, buckets: str = "") -> int:
    """Return how many nodes could take work now, of these `samples.BUCKETS` alone; one query."""
    found = online(now=now)
    if buckets:
        found = found.annotate(bucket=Right("pk", 1)).filter(bucket__in=list(buckets))
    return found.count()


def image_ms(model: CatalogModel, *, share: float, nodes: QuerySet[Node]) -> float:
    """Return the milliseconds in which `share` of the nodes compute a picture; one query.

    While too few of them are known, what the model's trial run took.
    """
    known = list(
        Credibility.objects.filter(model=model, node__in=nodes, image_ms__isnull=False).values_list(
            "image_ms", flat=True
        )[:PACES_MAX]
    )
    found = pace.quantile([each for each in known if each], share=share)
    return float(model.image_ms) if found is None or len(known) < PACES_MIN else found


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


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast nodes of one numeric class compute a model."""

    numeric_class: str
    nodes: int
    #: Mean milliseconds for an image, over accepted work.
    image_ms: int


def speeds(*, model_id: str) -> list[Speed]:
    """Return the speed of a model by class of node, fastest first. One query."""
    work = (
        Replica.objects.filter(job__model=model_id, state=Replica.State.ACCEPTED, compute_ms__gt=0)
        .values("node__numeric_class")
        .annotate(
            nodes=Count("node", distinct=True),
            milliseconds=Sum("compute_ms"),
            images=Sum("chunk__items_count"),
        )
    )
    found = [
        Speed(
            numeric_class=row["node__numeric_class"],
            nodes=row["nodes"],
            image_ms=max(1, round(row["milliseconds"] / row["images"])),
        )
        for row in work
    ]
    return sorted(found, key=lambda speed: (speed.image_ms, speed.numeric_class))


def shown_state(node: Node, *, running: int, now: datetime) -> tuple[str, str]:
    """Return the state shown and why it does not work (empty when it does)."""
    if node.state == Node.State.PAUSED:
        return "paused", NodeReason.PAUSED_ON_PAGE
    if node.state != Node.State.ACTIVE:
        return node.state, node.state_reason or node.state
    if abs(node.clock_skew_ms or 0) > limits.CLOCK_SKEW_SECONDS_MAX * 1000:
        return "offline", NodeReason.CLOCK_SKEW
    if node.last_seen_at is None or node.last_seen_at < now - ONLINE:
        return "offline", NodeReason.OFFLINE
    kept_back = _kept_back(node)
    if kept_back or not node.reason:
        return "online", kept_back or ("" if running else NodeReason.NO_WORK)
    paused = node.reason == NodeReason.PAUSED_LOCALLY
    return ("paused" if paused else "online"), node.reason


def _kept_back(node: Node) -> str:
    """Say why staff give it no work; empty when they do."""
    if node.quarantined_at is not None:
        return NodeReason.QUARANTINED
    return "" if node.drained_at is None else NodeReason.DRAINED


def clock_text(node: Node) -> str:
    """Say how wrong its clock is; empty while unknown. A message's way is no error of it."""
    skew_ms = node.clock_skew_ms
    if skew_ms is None:
        return ""
    if abs(skew_ms) < CLOCK_ERROR_MS_MIN:
        return "right"
    return f"{abs(skew_ms) / 1000:.0f} s {'fast' if skew_ms > 0 else 'slow'}"
