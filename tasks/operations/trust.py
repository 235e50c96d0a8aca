"""What is believed of nodes, what it is measured by, and who has the last word: in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Case, Count, F, Min, Q, Sum, Value, When

from tasks import referee
from tasks.models import CatalogModel, Chunk, Credibility, GoldItem, Node

#: Models whose trust and gold are shown.
MODELS_MAX: Final = 50


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


def by_model(*, now: datetime) -> list[ModelTrust]:
    """Count nodes by what they are believed, for each model. One query over the records."""
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


def referee_state(*, now: datetime) -> RefereeState:
    """Say how the referee stands. Three queries, over chunk_refereeing and chunk_refereed."""
    asked = Chunk.objects.filter(
        referee_asked_at__isnull=False,
        referee_at=None,
        state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
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


def gold_stock() -> list[GoldStock]:
    """Count gold by model. Two queries, the second over gold_usable."""
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
            wanted=settings.GOLD_STOCK,
        )
        for model_id, name in named.items()
    ]
