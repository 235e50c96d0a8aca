"""What staff see: a snapshot of queues, work, gates, nodes, trust and checks.

Every query is bounded: by an index over what is open, by the number of nodes, or by a
count that stops at COUNT_MAX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)

from tasks import fleet, referee
from tasks.models import (
    Appeal,
    CatalogModel,
    Chunk,
    Credibility,
    GoldItem,
    Job,
    Node,
    Platform,
    Replica,
    StaffAction,
    Strike,
)
from tasks.operations import gates, log, messages, platform
from tasks.reasons import NodeReason
from tasks.verification import gold
from workers.protocol import limits

#: Counting stops here: more is a lot, however much it is.
COUNT_MAX: Final = 100_000
#: Jobs and nodes named one by one.
NAMED_MAX: Final = 20
#: A sweep is late after this time: they come every few seconds.
SWEPT_WITHIN_SECONDS: Final = 60
#: Models whose trust and gold are shown.
MODELS_MAX: Final = 50

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
class ModelTrust:
    """What is believed of nodes for one model: nodes by `Credibility.State`."""

    model_id: str
    model_name: str
    states: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class RefereeState:
    """What the referee may compute in an hour, has computed, and is asked for."""

    budget_images: int
    spent_images: int
    backlog_chunks: int
    backlog_images: int
    oldest_asked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class GoldStock:
    """Gold of one model; `wanted` pictures are kept unused."""

    model_id: str
    model_name: str
    unused: int
    in_use: int
    wanted: int


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
        jobs=_jobs(),
        work=_work(),
        gates=gates.refusals(now=now),
        nodes=_nodes(now=now),
        trust=_trust(now=now),
        referee=_referee(now=now),
        gold=_gold(),
        todo=_todo(),
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


def _jobs() -> list[JobsInState]:
    """Two queries, over job_open with a look into chunk_open, and over replica_undecided."""
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


def _work() -> Work:
    """Five queries, each over a partial index of what is open."""
    chunks, replicas = Chunk.objects.all(), Replica.objects.all()
    return Work(
        chunks_open=_count(chunks.filter(state=_C.OPEN)),
        replicas_leased=_count(replicas.filter(state=Replica.State.LEASED)),
        replicas_undecided=_count(replicas.filter(state=Replica.State.REPORTED)),
        chunks_checking=_count(chunks.filter(state=_C.PROVISIONAL, granted__lt=F("wanted"))),
        chunks_stirred=_count(chunks.filter(state=_C.PROVISIONAL, stirred_at__isnull=False)),
    )


def _nodes(*, now: datetime) -> dict[str, int]:
    """One query over all nodes."""
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


def _trust(*, now: datetime) -> list[ModelTrust]:
    """One query over what is believed of nodes."""
    is_over = Q(state=Credibility.State.QUARANTINED, barred_until__lte=now)
    state = Case(
        When(quarantined_at__isnull=False, then=Value(Credibility.State.QUARANTINED)),
        When(is_over, then=Value(Credibility.State.WATCHED)),
        default=F("state"),
    )
    rows = (
        Credibility.objects.exclude(node__state=Node.State.RETIRED)
        .annotate(shown=state)
        .values("model", "model__name", "model__version", "shown")
        .annotate(count=Count("pk"))
        .order_by("model__name", "model", "shown")[: MODELS_MAX * len(Credibility.State)]
    )
    by_model: dict[str, tuple[str, dict[str, int]]] = {}
    for row in rows:
        name = f"{row['model__name']} {row['model__version']}"
        _, states = by_model.setdefault(row["model"], (name, {}))
        states[row["shown"]] = row["count"]
    return [
        ModelTrust(model_id=model_id, model_name=name, states=states)
        for model_id, (name, states) in by_model.items()
    ]


def _referee(*, now: datetime) -> RefereeState:
    """Three queries, the last over chunk_refereeing."""
    asked = Chunk.objects.filter(
        referee_asked_at__isnull=False, referee_at=None, state__in=[_C.OPEN, _C.PROVISIONAL]
    ).aggregate(
        chunks=Count("pk"), images=Sum("items_count", default=0), oldest=Min("referee_asked_at")
    )
    return RefereeState(
        budget_images=settings.REFEREE_IMAGES_PER_HOUR,
        spent_images=referee.spent(now=now),
        backlog_chunks=asked["chunks"],
        backlog_images=asked["images"],
        oldest_asked_at=asked["oldest"],
    )


def _gold() -> list[GoldStock]:
    """Two queries, the second over gold_usable."""
    models = CatalogModel.objects.filter(is_offered=True, owner=None).order_by("name", "pk")
    named = {model.pk: str(model) for model in models[:MODELS_MAX]}
    rows = (
        GoldItem.objects.filter(model__in=named, uses__lt=GoldItem.USES_MAX)
        .values("model")
        .annotate(unused=Count("pk", filter=Q(uses=0)), usable=Count("pk"))
    )
    found: dict[str, dict[str, Any]] = {row["model"]: dict(row) for row in rows.order_by()}
    none = {"unused": 0, "usable": 0}
    return [
        GoldStock(
            model_id=model_id,
            model_name=name,
            unused=found.get(model_id, none)["unused"],
            in_use=found.get(model_id, none)["usable"] - found.get(model_id, none)["unused"],
            wanted=gold.STOCK,
        )
        for model_id, name in named.items()
    ]


def _todo() -> Todo:
    """Four queries, each over a partial index of what is open."""
    appeals = Appeal.objects.all()
    return Todo(
        strikes_waiting=_count(Strike.objects.filter(enforced_at=None)),
        appeals_referee=_count(appeals.filter(state=Appeal.State.REFEREE)),
        appeals_staff=_count(appeals.filter(state=Appeal.State.STAFF)),
        nodes_broker_behind=_count(Node.objects.filter(broker_behind_since__isnull=False)),
    )


def _count(rows: QuerySet[Any, Any]) -> int:
    return rows.order_by()[:COUNT_MAX].count()
