"""What pages and the API show, as typed rows; a fixed number of queries each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet, Sum

from payments import queries as payments_queries
from tasks import appeals, evidence, near_misses, reasons, settlement
from tasks.models import Ack, Chunk, Job, Replica

#: What each state means for who did the work.
VERDICTS = {
    Replica.State.LEASED: "waiting",
    Replica.State.REPORTED: "waiting",
    Replica.State.ACCEPTED: "accepted",
    Replica.State.REJECTED: "refused",
    Replica.State.CANCELLED: "not_needed",
    Replica.State.FAILED: "no_answer",
    Replica.State.LOST: "no_answer",
}


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as its client sees it; times in milliseconds count from submission."""

    id: str
    kind: str
    state: str
    reason: str
    reason_text: str
    version: int
    is_over: bool
    items_total: int
    items_provisional: int
    items_final: int
    items_failed: int
    #: Pictures among the provisional ones that are being computed again.
    items_questioned: int
    #: When the last provisional result becomes final if nobody is caught; null: none is left.
    settles_at: datetime | None
    acks_count: int
    slowest_ack_ms: int | None
    first_ack_ms: int | None
    first_result_ms: int | None
    submitted_at: datetime
    finished_at: datetime | None
    price_minor: int
    spent_minor: int
    held_minor: int
    returned_minor: int
    replicas: int
    gold: int
    audits: int
    referee: int
    disagreements: int
    dataset_id: str
    dataset_name: str
    model_id: str
    model_name: str
    target_error: str
    replicas_planned: int
    score_threshold: float
    mode: str
    client_category: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AckView:
    """A node's ack; the client sees an alias, never which node it is."""

    alias: str
    latency_ms: int
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class ChunkView:
    """A chunk at work."""

    index: int
    state: str
    reason: str
    wanted: int
    granted: int
    replicas: list[str]


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A picture a node worked on, and what that node said of it.

    See Note [What evidence may not give away].
    """

    id: str
    #: Place in the assignment, from 0.
    position: int
    name: str
    width: int
    height: int
    detections: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ReplicaView:
    """One piece of a node's work and what it earned."""

    id: str
    chunk_index: int
    #: Pictures shown.
    items: int
    state: str
    #: "waiting", "accepted", "refused", "not_needed" (paid all the same) or "no_answer".
    verdict: str
    #: What decided against it, in words; empty when nothing did.
    rule: str
    #: It differs from the right answer in digits only; None: it does not.
    near_miss: near_misses.NearMiss | None
    reason: str
    reason_text: str
    #: What the node's own report named when it had no answer; empty when it had.
    node_said: str
    #: Of its appeal: "" when there is none, else `Appeal.State`.
    appeal_state: str
    appeal_note: str
    may_appeal: bool
    reward_minor: int
    #: "" without a reward, else "pending", "frozen", "voided" or "available".
    reward_state: str
    released_at: datetime | None
    assigned_at: datetime
    reported_at: datetime | None
    compute_ms: int | None
    images: list[ImageRef]


def job_view(job: Job) -> JobView:
    """Describe a job; six queries, `dataset` and `model` should be selected with it."""
    acks = job.acks.aggregate(count=Count("pk"), slowest=Max("latency_ms"))
    first_ack = job.acks.order_by("received_at", "pk").first()
    unsettled = job.chunks.filter(state=Chunk.State.PROVISIONAL).aggregate(
        settles_at=Max("settles_at"),
        questioned=Sum("items_count", filter=~Q(reason=""), default=0),
    )
    money = payments_queries.escrow(settlement.JOB, job.pk)
    return JobView(
        id=job.pk,
        kind=job.kind,
        state=job.state,
        reason=job.reason,
        reason_text=reasons.text(reasons.JobReason, job.reason),
        version=job.version,
        is_over=job.state in {Job.State.FINISHED, Job.State.CANCELLED, Job.State.FAILED},
        items_total=job.items_total,
        items_provisional=job.items_provisional,
        items_final=job.items_final,
        items_failed=job.items_failed,
        items_questioned=unsettled["questioned"],
        settles_at=unsettled["settles_at"],
        acks_count=acks["count"],
        slowest_ack_ms=acks["slowest"],
        first_ack_ms=first_ack.latency_ms if first_ack else None,
        first_result_ms=_since(job.submitted_at, job.first_result_at),
        submitted_at=job.submitted_at,
        finished_at=job.finished_at,
        price_minor=job.price_minor,
        spent_minor=money.spent_minor,
        held_minor=money.held_minor,
        returned_minor=money.returned_minor,
        replicas=job.replicas.count(),
        gold=job.gold_checks,
        audits=job.audits,
        referee=job.referee_runs,
        disagreements=job.disagreements,
        dataset_id=job.dataset_id,
        dataset_name=job.dataset.name,
        model_id=job.model_id,
        model_name=job.model.name,
        target_error=job.target_error,
        replicas_planned=job.replicas_planned,
        score_threshold=job.score_threshold,
        mode=job.mode,
        client_category=job.client_category,
        metadata=job.metadata,
    )


def job_acks(job_id: str) -> list[AckView]:
    """Return the acks in order of arrival. One query."""
    acks = Ack.objects.filter(job_id=job_id).order_by("received_at", "pk")
    return [
        AckView(alias=f"node {number}", latency_ms=ack.latency_ms, received_at=ack.received_at)
        for number, ack in enumerate(acks, start=1)
    ]


def job_chunks(job_id: str, *, limit: int) -> list[ChunkView]:
    """Return up to `limit` chunks, undecided ones first. Two queries."""
    chunks = (
        Chunk.objects.filter(job_id=job_id)
        .prefetch_related("replicas")
        .order_by(F("decided_at").asc(nulls_first=True), "index")[:limit]
    )
    return [
        ChunkView(
            index=chunk.index,
            state=chunk.state,
            reason=chunk.reason,
            wanted=chunk.wanted,
            granted=chunk.granted,
            replicas=[replica.state for replica in chunk.replicas.all()],
        )
        for chunk in chunks
    ]


def replica_rows(node_id: str) -> QuerySet[Replica]:
    """Return a node's work, newest first. Uses index: replica_by_node."""
    return (
        Replica.objects.filter(node_id=node_id)
        .select_related("chunk", "job__model", "gold", "appeal", "strike")
        .prefetch_related("chunk__items__image")
        .order_by("-assigned_at", "-pk")
    )


def refused_rows(node_id: str) -> QuerySet[Replica]:
    """Return a node's refused work, newest first."""
    return replica_rows(node_id).filter(state=Replica.State.REJECTED)


def replica_views(replicas: Sequence[Replica], *, now: datetime) -> list[ReplicaView]:
    """Describe pieces of work of `replica_rows` with what each earned.

    One more query for all, and another if one of them was nearly right.
    """
    rewards = payments_queries.rewards([str(replica.pk) for replica in replicas])
    near = near_misses.of_replicas(replicas)
    return [
        _replica_view(replica, rewards.get(str(replica.pk)), near.get(replica.pk), now=now)
        for replica in replicas
    ]


def _replica_view(
    replica: Replica,
    reward: payments_queries.RewardState | None,
    near_miss: near_misses.NearMiss | None,
    *,
    now: datetime,
) -> ReplicaView:
    images = [_image_ref(replica, each) for each in evidence.shown(replica)]
    appeal = getattr(replica, "appeal", None)  # none: Django raises, as an attribute error
    return ReplicaView(
        id=str(replica.pk),
        chunk_index=replica.chunk.index,
        items=len(images),
        state=replica.state,
        verdict=VERDICTS[Replica.State(replica.state)],
        rule=evidence.rule(replica),
        near_miss=near_miss,
        appeal_state=appeal.state if appeal else "",
        appeal_note=appeal.note if appeal else "",
        may_appeal=appeal is None and appeals.may_be_lodged(replica, now=now),
        reason=replica.reason,
        reason_text=reasons.text(reasons.ReplicaReason, replica.reason),
        node_said=replica.error_code,
        reward_minor=reward.reward_minor if reward else 0,
        reward_state=reward.state if reward else "",
        released_at=reward.released_at if reward else None,
        assigned_at=replica.assigned_at,
        reported_at=replica.reported_at,
        compute_ms=replica.compute_ms,
        images=images,
    )


def _image_ref(replica: Replica, each: evidence.Shown) -> ImageRef:
    return ImageRef(
        id=f"{replica.pk}-{each.position}",
        position=each.position,
        name=each.name,
        width=each.width,
        height=each.height,
        detections=evidence.labelled(replica, each),
    )


def _since(start: datetime, end: datetime | None) -> int | None:
    return None if end is None else round((end - start).total_seconds() * 1000)
