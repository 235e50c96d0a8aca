"""A job's life as its client steers it: quote, submit, pause, resume, cancel."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F

from payments import pricing
from tasks import bulk, chunking, costs, dispatch, events, fleet, requests, settlement
from tasks.errors import WrongState
from tasks.models import Chunk, Item, Job, Replica
from tasks.reasons import EventCode, JobReason, ReplicaReason
from tasks.verification import smoke

logger = logging.getLogger(__name__)

#: Seconds that fetching, messages and checks add to the computing of a chunk.
OVERHEAD_SECONDS = 0.5
#: p90 of the time a job takes over its median, from the tail of the straggler simulation.
P90_OVER_P50 = 1.6

_OPEN = (Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What the job would cost and how long it may take, as things stand."""

    #: The most it costs; held when the job is bought.
    price_minor: int
    #: What will likely be spent of it, as the fleet is now; the rest returns.
    expected_minor: int
    images: int
    chunks: int
    replicas_planned: int
    replicas_expected: int
    #: Share of the nodes it may go to whose answer needs no second one, 0..1.
    believed_share: float
    eta_p50_seconds: int
    eta_p90_seconds: int
    lines: Sequence[pricing.PriceLine]


def quote(
    *,
    owner_id: int,
    request: requests.JobRequest,
    now: datetime,
    client_category: str = Job.ClientCategory.UNDECLARED,
) -> Quote:
    """Price a job without buying it.

    `client_category`: what the owner's account is for; only nodes that work for such clients
    are counted on.

    Raises:
        Refused: with the field and code of what cannot be bought.
    """
    plan = requests.plan(
        owner_id=owner_id, request=request, client_category=client_category, now=now
    )
    serving = fleet.serving(client_category, now=now)
    chunks = chunking.expected_count(
        images=len(plan.image_ids), size=plan.chunk_size, nodes=plan.nodes
    )
    outlook = costs.expect(
        target_error=request.target_error,
        mode=request.mode,
        checks_tenths=costs.records(model_id=plan.model.pk, nodes=serving, now=now),
    )
    image_ms = fleet.image_ms(plan.model, share=0.5, nodes=serving)
    work_seconds = len(plan.image_ids) * outlook.replicas * image_ms / 1000
    median = math.ceil(work_seconds / max(1, plan.nodes) + OVERHEAD_SECONDS)
    return Quote(
        price_minor=plan.price.price_minor,
        expected_minor=costs.expected_minor(
            price_minor=plan.price.price_minor, replicas_planned=plan.replicas, outlook=outlook
        ),
        images=len(plan.image_ids),
        chunks=chunks,
        replicas_planned=chunks * plan.replicas,
        replicas_expected=math.ceil(chunks * outlook.replicas),
        believed_share=outlook.believed_share,
        eta_p50_seconds=median,
        eta_p90_seconds=math.ceil(median * P90_OVER_P50),
        lines=plan.price.lines,
    )


def submit(
    *,
    owner_id: int,
    request: requests.JobRequest,
    now: datetime,
    client_category: str = Job.ClientCategory.UNDECLARED,
) -> Job:
    """Buy a job: hold its price, cut it into chunks, announce it after commit.

    `client_category`: what the owner's account is for; only nodes that work for such clients
    get it.

    Raises:
        Refused: with the field and code of what cannot be bought.
        payments.ledger.InsufficientFunds: the balance is smaller than the price.
    """
    with transaction.atomic(durable=True):
        plan = requests.plan(
            owner_id=owner_id, request=request, client_category=client_category, now=now
        )
        requests.check_max_price(request, price_minor=plan.price.price_minor)
        job = Job.objects.create(
            owner_id=owner_id,
            kind=request.kind,
            dataset=plan.dataset,
            model=plan.model,
            target_error=request.target_error,
            replicas_planned=plan.replicas,
            score_threshold=request.score_threshold,
            mode=request.mode,
            client_category=Job.ClientCategory(client_category),
            metadata=dict(request.metadata),
            price_minor=plan.price.price_minor,
            reward_image_minor=pricing.reward_minor(kind=plan.kind, images=1),
            fee_image_minor=pricing.fee_minor(kind=plan.kind, images=1),
            items_total=len(plan.image_ids),
            smoke=Job.Smoke.RUNNING if plan.is_tried_first else Job.Smoke.NONE,
            submitted_at=now,
        )
        settlement.hold_price(job=job, now=now)
        _cut(job, plan)
        events.record(
            job_id=job.pk,
            code=EventCode.SUBMITTED,
            detail={"images": job.items_total, "price_minor": job.price_minor},
            now=now,
        )
        if plan.is_tried_first:
            smoke.begin(job=job, now=now)
        dispatch.announce(job_id=job.pk)
    logger.info("job submitted", extra={"job_id": job.pk})
    return job


def pause(*, job_id: str, now: datetime) -> Job:
    """Give out no more work of the job; what runs is finished and paid.

    Raises:
        WrongState: it is not queued or running.
    """
    return _change(
        job_id,
        sources=(Job.State.QUEUED, Job.State.RUNNING),
        target=Job.State.PAUSED,
        reason=JobReason.PAUSED_BY_CLIENT,
        code=EventCode.PAUSED,
        now=now,
    )


def resume(*, job_id: str, now: datetime) -> Job:
    """Go on with a paused job.

    Raises:
        WrongState: it is not paused.
    """
    with transaction.atomic(durable=True):
        has_started = Replica.objects.filter(job_id=job_id).exists()
        job = _move(
            job_id,
            sources=(Job.State.PAUSED,),
            target=Job.State.RUNNING if has_started else Job.State.QUEUED,
            reason="",
            code=EventCode.RESUMED,
            now=now,
        )
        dispatch.schedule(job_ids=[job_id])
    return job


def cancel(*, job_id: str, now: datetime) -> Job:
    """Stop the job: results so far stay, work under way is paid, the rest returns.

    Raises:
        WrongState: it has ended before.
    """
    with transaction.atomic(durable=True):
        # Chunks before the job, as everywhere: two transactions never wait for each other.
        _stop_chunks(job_id, now=now)
        _move(
            job_id,
            sources=_OPEN,
            target=Job.State.CANCELLED,
            reason="",
            code=EventCode.CANCELLED,
            now=now,
        )
        Job.objects.filter(pk=job_id).update(finished_at=now)
        settlement.close(job_id=job_id, now=now)
    return Job.objects.get(pk=job_id)


def _stop_chunks(job_id: str, *, now: datetime) -> None:
    """Close what is undecided; whoever works on it, or has answered, is paid."""
    chunks = list(
        Chunk.objects.select_for_update(of=("self",))
        .filter(job_id=job_id, state=Chunk.State.OPEN)
        .order_by("pk")
    )
    Chunk.objects.filter(pk__in=[chunk.pk for chunk in chunks]).update(
        state=Chunk.State.CANCELLED, decided_at=now
    )
    planned = Job.objects.values_list("replicas_planned", flat=True).get(pk=job_id)
    for chunk in chunks:
        stopped = list(
            chunk.replicas.filter(
                state__in=[Replica.State.LEASED, Replica.State.REPORTED]
            ).order_by("assigned_at", "pk")
        )
        running = [row.pk for row in stopped if row.state == Replica.State.LEASED]
        Replica.objects.filter(pk__in=[row.pk for row in stopped]).update(
            state=Replica.State.CANCELLED, reason=ReplicaReason.JOB_CANCELLED
        )
        settlement.reward(
            chunk=chunk,
            replicas=stopped,
            planned=planned,
            matures_at=now + settlement.HOLD_WINDOW,
            now=now,
        )
        dispatch.withdraw(replica_ids=running)


def _change(
    job_id: str,
    *,
    sources: tuple[Job.State, ...],
    target: Job.State,
    reason: str,
    code: EventCode,
    now: datetime,
) -> Job:
    with transaction.atomic(durable=True):
        return _move(job_id, sources=sources, target=target, reason=reason, code=code, now=now)


def _move(
    job_id: str,
    *,
    sources: tuple[Job.State, ...],
    target: Job.State,
    reason: str,
    code: EventCode,
    now: datetime,
) -> Job:
    """Change the state only from one of `sources`; of two who try, one is refused."""
    moved = Job.objects.filter(pk=job_id, state__in=sources).update(
        state=target, reason=reason, version=F("version") + 1
    )
    job = Job.objects.get(pk=job_id)
    if moved == 0:
        raise WrongState(f"The job is {job.state}.")
    events.record(job_id=job_id, code=code, detail={}, now=now)
    return job


def _cut(job: Job, plan: requests.Plan) -> None:
    runs = chunking.cut(
        plan.image_ids,
        size=plan.chunk_size,
        nodes=plan.nodes,
        randomness=secrets.SystemRandom(),
    )
    chunks = bulk.insert(
        [
            # Raised when it is given out, by what the nodes that get it are believed.
            Chunk(job=job, index=index, items_count=len(run), wanted=1)
            for index, run in enumerate(runs)
        ],
        key="index",
    )
    bulk.insert(
        [
            Item(job=job, chunk=chunk, image_id=image_id, position=position)
            for chunk, run in zip(chunks, runs, strict=True)
            for position, image_id in enumerate(run)
        ],
        key="image",
    )
