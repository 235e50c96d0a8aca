"""What staff see: a snapshot of queues, work, gates, nodes, trust and checks.

Every query is bounded: by an index over what is open, by the number of nodes, or by a
count that stops at COUNT_MAX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)

from tasks import fleet
from tasks.models import (
    Appeal,
    Chunk,
    Job,
    Node,
    Platform,
    Replica,
    StaffAction,
    Strike,
)
from tasks.operations import gates, log, messages, platform, trust
from tasks.operations.trust import GoldStock, ModelTrust, RefereeState
from tasks.reasons import NodeReason
from workers.protocol import limits

#: Counting stops here: more is a lot, however much it is.
COUNT_MAX: Final = 100_000
#: Jobs and nodes named one by one.
NAMED_MAX: Final = 20
#: A sweep is late after this time: they come every few seconds.
SWEPT_WITHIN_SECONDS: Final = 60

_OPEN = (Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED)
_C = Chunk.State
#: Node states in the order they are shown; `fleet.shown_state` in SQL, what staff did first.
NODE_STATES: Final = (
    "online",
    "paused",
    "offline",
    "drained",
    "quarantined",
    "suspended",
    "retired",
)


@dataclass(frozen=True, kw_only=True)
class JobsInState:
    """Jobs of one open state."""

    state: str
    count: int
    #: When the oldest one with an undecided chunk was submitted; None: none has one.
    oldest_open_at: datetime | None
    #: When the oldest answer came that nothing was decided about; None: there is none.
    oldest_undecided_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """Chunks and replicas under way; each count stops at COUNT_MAX."""

    chunks_open: int
    replicas_leased: int
    replicas_undecided: int
    #: Accepted chunks that another owner should compute again.
    chunks_checking: int
    #: Accepted chunks with news that nobody has looked at.
    chunks_stirred: int


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What waits for a sweep or for staff; each count stops at COUNT_MAX."""

    strikes_waiting: int
    appeals_referee: int
    appeals_staff: int
    #: Nodes of whose state the broker was not told yet.
    nodes_broker_behind: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All of it, as of `taken_at`."""

    taken_at: datetime
    platform: Platform
    queues: messages.Queues
    jobs: Sequence[JobsInState]
    work: Work
    gates: gates.Refusals
    #: State -> nodes, in the order of NODE_STATES.
    nodes: Mapping[str, int]
    trust: Sequence[ModelTrust]
    referee: RefereeState
    gold: Sequence[GoldStock]
    todo: Todo


def take(*, now: datetime) -> Overview:
    """Look at everything; a fixed number of queries, and the broker within its time."""
    return Overview(
        taken_at=now,
        platform=platform.read(),
        queues=messages.queues(),
        jobs=jobs(),
        work=work(),
        gates=gates.refusals(now=now),
        nodes=nodes(now=now),
        trust=trust.by_model(now=now),
        referee=trust.referee_state(now=now),
        gold=trust.gold_stock(),
        todo=todo(),
    )


def waiting_jobs() -> list[Job]:
    """Return the oldest open jobs. One query, over job_open."""
    rows = Job.objects.filter(state__in=_OPEN).select_related("owner", "model")
    return list(rows.order_by("submitted_at", "pk")[:NAMED_MAX])


def kept_back_nodes() -> list[Node]:
    """Return nodes that staff or a flood keep from work, newest first. One query."""
    kept = Q(drained_at__isnull=False) | Q(quarantined_at__isnull=False)
    kept |= Q(state=Node.State.SUSPENDED)
    rows = Node.objects.filter(kept).exclude(state=Node.State.RETIRED).select_related("owner")
    return list(rows.order_by("-last_seen_at", "-pk")[:NAMED_MAX])


def actions() -> list[StaffAction]:
    """Return what staff did last. One query."""
    return log.newest()


def jobs() -> list[JobsInState]:
    """Count open jobs by state.

    Two queries, over job_open with a look into chunk_open, and over replica_undecided.
    """
    has_open = Exists(Chunk.objects.filter(job=OuterRef("pk"), state=_C.OPEN))
    rows = (
        Job.objects.filter(state__in=_OPEN)
        .annotate(has_open=has_open)
        .values("state")
        .annotate(count=Count("pk"), oldest=Min("submitted_at", filter=Q(has_open=True)))
    )
    undecided = dict(
        Replica.objects.filter(state=Replica.State.REPORTED, chunk__state=_C.OPEN)
        .values("job__state")
        .annotate(oldest=Min("reported_at"))
        .order_by()
        .values_list("job__state", "oldest")
    )
    found = {row["state"]: row for row in rows.order_by()}
    return [
        JobsInState(
            state=state,
            count=found[state]["count"] if state in found else 0,
            oldest_open_at=found[state]["oldest"] if state in found else None,
            oldest_undecided_at=undecided.get(state),
        )
        for state in _OPEN
    ]


def work() -> Work:
    """Count what is under way. Five queries, each over a partial index of what is open."""
    chunks, replicas = Chunk.objects.all(), Replica.objects.all()
    return Work(
        chunks_open=_count(chunks.filter(state=_C.OPEN)),
        replicas_leased=_count(replicas.filter(state=Replica.State.LEASED)),
        replicas_undecided=_count(replicas.filter(state=Replica.State.REPORTED)),
        chunks_checking=_count(chunks.filter(state=_C.PROVISIONAL, granted__lt=F("wanted"))),
        chunks_stirred=_count(chunks.filter(state=_C.PROVISIONAL, stirred_at__isnull=False)),
    )


def nodes(*, now: datetime) -> dict[str, int]:
    """Count nodes by the state shown, in the order of NODE_STATES. One query over all nodes."""
    skew_max = limits.CLOCK_SKEW_SECONDS_MAX * 1000
    unheard = Q(last_seen_at=None) | Q(last_seen_at__lt=now - fleet.ONLINE)
    unheard |= Q(clock_skew_ms__gt=skew_max) | Q(clock_skew_ms__lt=-skew_max)
    state = Case(
        When(state__in=[Node.State.RETIRED, Node.State.SUSPENDED], then=F("state")),
        When(quarantined_at__isnull=False, then=Value("quarantined")),
        When(drained_at__isnull=False, then=Value("drained")),
        When(state=Node.State.PAUSED, then=Value("paused")),
        When(unheard | Q(reason=NodeReason.OFFLINE), then=Value("offline")),
        When(reason=NodeReason.PAUSED_LOCALLY, then=Value("paused")),
        default=Value("online"),
    )
    rows = Node.objects.annotate(shown=state).values("shown").annotate(count=Count("pk"))
    found = {row["shown"]: row["count"] for row in rows.order_by()}
    return {state: found.get(state, 0) for state in NODE_STATES}


def todo() -> Todo:
    """Count what waits for a sweep or for staff. Four queries, each over a partial index."""
    appeals = Appeal.objects.all()
    return Todo(
        strikes_waiting=_count(Strike.objects.filter(enforced_at=None)),
        appeals_referee=_count(appeals.filter(state=Appeal.State.REFEREE)),
        appeals_staff=_count(appeals.filter(state=Appeal.State.STAFF)),
        nodes_broker_behind=_count(Node.objects.filter(broker_behind_since__isnull=False)),
    )


def _count(rows: QuerySet[Any, Any]) -> int:
    return rows.order_by()[:COUNT_MAX].count()
