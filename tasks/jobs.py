"""A job's life as its client steers it: quote, submit, pause, resume, cancel."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from payments import pricing
from tasks import bulk, catalog, chunking, costs, dispatch, events, fleet, settlement
from tasks.errors import Refused
from tasks.models import CatalogModel, Chunk, Dataset, Image, Item, Job, Replica
from tasks.reasons import EventCode, JobReason, ReplicaReason
from tasks.verification import acceptance, smoke

logger = logging.getLogger(__name__)

#: Images in one job.
IMAGES_MAX = 100_000
#: Scores below this are noise for every detector we know.
SCORE_THRESHOLD_MIN = 0.05
#: Seconds that fetching, messages and checks add to the computing of a chunk.
OVERHEAD_SECONDS = 0.5
#: A chunk is as large as this share of the nodes computes in good time.
CHUNK_FOR_SHARE = 0.75
#: p90 of the time a job takes over its median, from the tail of the straggler simulation.
P90_OVER_P50 = 1.6

TARGET_ERRORS = tuple(acceptance.TIERS)
_OPEN = (Job.State.QUEUED, Job.State.RUNNING, Job.State.PAUSED)


class UnknownDataset(Refused):
    """The data set does not exist or is not the client's."""

    code, status, field = "unknown_dataset", 422, "dataset"


class EmptyDataset(Refused):
    """The data set holds no images."""

    code, status, field = "empty_dataset", 422, "dataset"


class TooManyImages(Refused):
    """The data set holds more images than one job takes."""

    code, status, field = "too_many_images", 422, "dataset"


class UnknownModel(Refused):
    """The model does not exist or is not offered for this kind."""

    code, status, field = "unknown_model", 422, "model"


class KindNotOffered(Refused):
    """Jobs of this kind cannot be bought yet."""

    code, status, field = "kind_not_offered", 422, "kind"


class BadChoice(Refused):
    """A value is outside what is offered."""

    code, status = "invalid_choice", 422

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field  # type: ignore[misc]  # narrower than the class's default


class MaxPriceTooSmall(Refused):
    """The job costs more than the client allows."""

    code, status, field = "max_price_too_small", 422, "max_price"


class WrongState(Refused):
    """The job's state does not allow it."""

    code, status = "wrong_state", 409


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a client asks for; checked by `quote` and `submit`."""

    kind: str
    dataset_id: str
    model_id: str
    target_error: str
    score_threshold: float = 0.3
    mode: str = "normal"
    max_price_minor: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


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
    #: Share of the nodes online whose answer needs no second one, 0..1.
    believed_share: float
    eta_p50_seconds: int
    eta_p90_seconds: int
    lines: Sequence[pricing.PriceLine]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    dataset: Dataset
    model: CatalogModel
    image_ids: list[str]
    #: Nodes online.
    nodes: int
    chunk_size: int
    replicas: int
    price: pricing.Price
    is_tried_first: bool


def quote(*, owner_id: int, request: JobRequest, now: datetime) -> Quote:
    """Price a job without buying it.

    Raises:
        Refused: with the field and code of what cannot be bought.
    """
    plan = _plan(owner_id=owner_id, request=request, now=now)
    chunks = chunking.expected_count(
        images=len(plan.image_ids), size=plan.chunk_size, nodes=plan.nodes
    )
    outlook = costs.expect(
        target_error=request.target_error,
        mode=request.mode,
        checks_tenths=costs.records(model_id=plan.model.pk, now=now),
    )
    image_ms = fleet.image_ms(plan.model, share=0.5, now=now)
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
    request: JobRequest,
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
        plan = _plan(owner_id=owner_id, request=request, now=now)
        _check_max_price(request, plan.price.price_minor)
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
            reward_image_minor=pricing.reward_minor(kind=_kind(request), images=1),
            fee_image_minor=pricing.fee_minor(kind=_kind(request), images=1),
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


def _plan(*, owner_id: int, request: JobRequest, now: datetime) -> _Plan:
    _check_choices(request)
    dataset = Dataset.objects.filter(pk=request.dataset_id, owner_id=owner_id).first()
    if dataset is None:
        raise UnknownDataset("There is no such data set.")
    kind = _kind(request)
    model = catalog.usable_by(owner_id).filter(pk=request.model_id, kind=kind).first()
    if model is None:
        raise UnknownModel("There is no such model for this kind of job.")
    image_ids = list(
        Image.objects.filter(dataset=dataset)
        .order_by("created_at", "pk")
        .values_list("pk", flat=True)[: IMAGES_MAX + 1]
    )
    if not image_ids:
        raise EmptyDataset("The data set holds no images.")
    if len(image_ids) > IMAGES_MAX:
        raise TooManyImages(f"One job takes at most {IMAGES_MAX} images.")
    replicas = acceptance.planned_replicas(target_error=request.target_error, mode=request.mode)
    nodes = fleet.online_count(now=now)
    size = chunking.chunk_size(
        images=len(image_ids),
        nodes=nodes,
        image_ms=fleet.image_ms(model, share=CHUNK_FOR_SHARE, now=now),
        images_max=settings.CHUNK_IMAGES_MAX,
    )
    return _Plan(
        dataset=dataset,
        model=model,
        image_ids=image_ids,
        nodes=nodes,
        chunk_size=size,
        replicas=replicas,
        price=pricing.price_images(kind=kind, images=len(image_ids), quorum=replicas),
        is_tried_first=smoke.is_needed(
            model=model,
            chunks=chunking.expected_count(images=len(image_ids), size=size, nodes=nodes),
            mode=request.mode,
        ),
    )


def _kind(request: JobRequest) -> pricing.Kind:
    match request.kind:
        case "detect" | "classify":
            return request.kind
        case _:
            raise KindNotOffered(f"Jobs of kind {request.kind!r} are not offered yet.")


def _check_choices(request: JobRequest) -> None:
    _kind(request)
    if request.target_error not in TARGET_ERRORS:
        raise BadChoice(f"One of {', '.join(TARGET_ERRORS)}.", field="target_error")
    if request.mode not in Job.Mode.values:
        raise BadChoice(f"One of {', '.join(Job.Mode.values)}.", field="mode")
    if not SCORE_THRESHOLD_MIN <= request.score_threshold <= 1:
        raise BadChoice(f"Between {SCORE_THRESHOLD_MIN} and 1.", field="score_threshold")


def _check_max_price(request: JobRequest, price_minor: int) -> None:
    if request.max_price_minor is not None and request.max_price_minor < price_minor:
        raise MaxPriceTooSmall("The job costs more than max_price; ask for a quote.")


def _cut(job: Job, plan: _Plan) -> None:
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
