"""What a client asks for: checked, and worked out into a plan that can be priced or bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings

from payments import pricing
from tasks import catalog, chunking, fleet
from tasks.errors import Refused
from tasks.models import CatalogModel, Dataset, Image, Job
from tasks.verification import acceptance, smoke

#: Images in one job.
IMAGES_MAX = 100_000
#: Scores below this are noise for every detector we know.
SCORE_THRESHOLD_MIN = 0.05
#: A chunk is as large as this share of the nodes computes in good time.
CHUNK_FOR_SHARE = 0.75

TARGET_ERRORS = tuple(acceptance.TIERS)


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


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a client asks for; checked by `plan`."""

    kind: str
    dataset_id: str
    model_id: str
    target_error: str
    score_threshold: float = 0.3
    mode: str = "normal"
    max_price_minor: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job would be, as things stand."""

    kind: pricing.Kind
    dataset: Dataset
    model: CatalogModel
    image_ids: list[str]
    #: Nodes online that work for such clients.
    nodes: int
    chunk_size: int
    replicas: int
    price: pricing.Price
    is_tried_first: bool


def check_max_price(request: JobRequest, *, price_minor: int) -> None:
    """Refuse what costs more than the client allows."""
    if request.max_price_minor is not None and request.max_price_minor < price_minor:
        raise MaxPriceTooSmall("The job costs more than max_price; ask for a quote.")


def plan(*, owner_id: int, request: JobRequest, client_category: str, now: datetime) -> Plan:
    """Check a request and work out what the job would be.

    `client_category`: what the owner's account is for; other nodes are not counted on.

    Raises:
        Refused: with the field and code of what cannot be bought.
    """
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
    serving = fleet.serving(client_category, now=now)
    nodes = serving.count()
    size = chunking.chunk_size(
        images=len(image_ids),
        nodes=nodes,
        image_ms=fleet.image_ms(model, share=CHUNK_FOR_SHARE, nodes=serving),
        images_max=settings.CHUNK_IMAGES_MAX,
    )
    return Plan(
        kind=kind,
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
