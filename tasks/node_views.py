"""Nodes as their operators see them; a fixed number of queries for any number of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q

from payments import queries as payments_queries
from tasks import allowances, fleet, idleness, near_misses, reasons, records
from tasks.models import Node, Replica

NOTHING = payments_queries.Earnings(pending_minor=0, frozen_minor=0, available_minor=0)


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node as its operator sees it; money in minor units."""

    id: str
    name: str
    state: str
    reason: str
    reason_text: str
    #: What staff say of it while they give it no work; "" else.
    staff_note: str
    last_seen_at: datetime | None
    enrolled_at: datetime
    #: How far its clock was ahead (behind: negative) at its newest heartbeat, seconds.
    clock_skew_seconds: float | None
    #: The same in words, empty when nothing is known.
    clock_skew_text: str
    slots: int
    limits: allowances.Limits
    running: int
    hardware: Mapping[str, Any]
    software_version: str
    numeric_class: str
    #: By its own measure of the platform's detector, of one slot; None before it was measured.
    benchmark_image_ms: float | None
    credibility: Sequence[records.Record]
    #: Answers that were nearly right and are not forgiven, the newest first.
    warnings: Sequence[near_misses.NearMiss]
    accepted: int
    rejected: int
    lost: int
    pending_minor: int
    #: Of `pending_minor`.
    frozen_minor: int
    available_minor: int
    paid_minor: int


def of_node(node: Node, *, now: datetime) -> NodeView:
    """Describe a node; four queries, and up to eleven more while it is idle and work waits."""
    return _views([node], now=now)[0]


def of_owner(owner_id: int, *, now: datetime) -> list[NodeView]:
    """Describe an operator's nodes, newest first; five queries for any number, and up to eleven more."""
    nodes = Node.objects.filter(owner_id=owner_id).order_by("-enrolled_at", "-pk")
    return _views(list(nodes), now=now)


def _views(nodes: Sequence[Node], *, now: datetime) -> list[NodeView]:
    work: dict[str, dict[str, Any]] = {
        row["node"]: dict(row)
        for row in Replica.objects.filter(node__in=nodes)
        .values("node")
        .annotate(
            running=Count("pk", filter=Q(state=Replica.State.LEASED)),
            accepted=Count("pk", filter=Q(state=Replica.State.ACCEPTED)),
            rejected=Count("pk", filter=Q(state=Replica.State.REJECTED)),
            lost=Count("pk", filter=Q(state=Replica.State.LOST)),
        )
    }
    node_ids = [node.pk for node in nodes]
    earned = payments_queries.earnings(node_ids)
    believed = records.of_nodes(node_ids, now=now)
    warned = near_misses.standing(node_ids)
    running = {node_id: row["running"] for node_id, row in work.items()}
    shown = idleness.shown(nodes, running=running, believed=believed, now=now)
    return [
        _view(
            node,
            work.get(node.pk, {}),
            earned.get(node.pk, NOTHING),
            believed.get(node.pk, []),
            warned.get(node.pk, []),
            *shown[node.pk],
        )
        for node in nodes
    ]


def _view(
    node: Node,
    work: Mapping[str, Any],
    earned: payments_queries.Earnings,
    believed: Sequence[records.Record],
    warned: Sequence[near_misses.NearMiss],
    state: str,
    reason: str,
) -> NodeView:
    return NodeView(
        id=node.pk,
        name=node.name,
        state=state,
        reason=reason,
        reason_text=reasons.text(reasons.NodeReason, reason),
        staff_note=node.quarantine_note or node.drain_note,
        last_seen_at=node.last_seen_at,
        enrolled_at=node.enrolled_at,
        clock_skew_seconds=None if node.clock_skew_ms is None else node.clock_skew_ms / 1000,
        clock_skew_text=fleet.clock_text(node),
        slots=node.slots,
        limits=allowances.limits_of(node),
        running=work.get("running", 0),
        hardware=node.hardware,
        software_version=node.software_version,
        numeric_class=node.numeric_class,
        benchmark_image_ms=_benchmark_image_ms(node),
        credibility=believed,
        warnings=warned,
        accepted=work.get("accepted", 0),
        rejected=work.get("rejected", 0),
        lost=work.get("lost", 0),
        pending_minor=earned.pending_minor,
        frozen_minor=earned.frozen_minor,
        available_minor=earned.available_minor,
        paid_minor=0,
    )


def _benchmark_image_ms(node: Node) -> float | None:
    speed = float(node.profile.get("images_per_second", 0))
    return round(1000 / speed, 1) if speed > 0 else None
