"""One node, and one job, as staff see them; a few bounded queries each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, F, Min, Q

from tasks import fleet, records
from tasks.models import Chunk, Job, Node, Replica, SignedReport, StaffAction
from tasks.operations import log

#: Kept messages of a node that are listed.
MESSAGES_MAX: Final = 10
#: Of its work, the newest is looked through.
REPLICAS_MAX: Final = 1000


@dataclass(frozen=True, kw_only=True)
class NodeDetail:
    """A node: what it holds, what it is believed, what it said, what was done to it."""

    state: str
    reason: str
    leased: int
    undecided: int
    #: Answers that count only if others confirm them, in chunks that can still change.
    doubted: int
    records: Sequence[records.Record]
    messages: Sequence[SignedReport]
    actions: Sequence[StaffAction]


@dataclass(frozen=True, kw_only=True)
class JobDetail:
    """A job: its chunks by state, what is under way, what was done to it."""

    chunks: Mapping[str, int]
    questioned: int
    checking: int
    #: Accepted chunks that can still change: what can be verified again.
    unsettled: int
    next_settles_at: datetime | None
    replicas: Mapping[str, int]
    actions: Sequence[StaffAction]


def of_node(node: Node, *, now: datetime) -> NodeDetail:
    """Describe a node by its newest work. Six queries, over replica_by_node and by key."""
    newest: list[tuple[Any, ...]] = list(
        Replica.objects.filter(node=node)
        .order_by("-assigned_at", "-pk")
        .values_list("chunk", "state", "doubted_at", "signed_report")[:REPLICAS_MAX]
    )
    answered = {Replica.State.REPORTED, Replica.State.ACCEPTED}
    doubted = [chunk for chunk, state, at, _ in newest if at is not None and state in answered]
    leased = Replica.objects.filter(node=node, state=Replica.State.LEASED).count()
    state, reason = fleet.shown_state(node, running=leased, now=now)
    return NodeDetail(
        state=state,
        reason=reason,
        leased=leased,
        undecided=sum(state == Replica.State.REPORTED for _, state, _, _ in newest),
        doubted=Chunk.objects.filter(
            pk__in=doubted, state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL]
        ).count(),
        records=records.of_nodes([node.pk], now=now).get(node.pk, []),
        messages=_messages({kept for _, _, _, kept in newest if kept is not None}),
        actions=log.newest(target=node.pk),
    )


def of_job(job: Job) -> JobDetail:
    """Describe a job. Four queries over its own chunks and replicas."""
    chunks = Chunk.objects.filter(job=job)
    provisional = Q(state=Chunk.State.PROVISIONAL)
    figures = chunks.aggregate(
        questioned=Count("pk", filter=provisional & ~Q(reason="")),
        checking=Count("pk", filter=provisional & Q(granted__lt=F("wanted"))),
        unsettled=Count("pk", filter=provisional),
        next_settles_at=Min("settles_at", filter=provisional),
    )
    return JobDetail(
        **figures,
        chunks=dict(
            chunks.values("state")
            .annotate(n=Count("pk"))
            .order_by("state")
            .values_list("state", "n")
        ),
        replicas=dict(
            Replica.objects.filter(job=job)
            .values("state")
            .annotate(n=Count("pk"))
            .order_by("state")
            .values_list("state", "n")
        ),
        actions=log.newest(target=job.pk),
    )


def _messages(kept: set[int]) -> list[SignedReport]:
    return list(SignedReport.objects.filter(pk__in=kept).order_by("-pk")[:MESSAGES_MAX])
