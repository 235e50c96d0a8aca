"""The models that jobs can ask for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from tasks import blobs
from tasks.errors import Refused
from tasks.models import CatalogModel
from workers.protocol import limits, messages

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/octet-stream"
#: Classes of one model, and characters of a class's name.
LABELS_MAX = 10_000
LABEL_LENGTH_MAX = 100
_CLASS_ID = re.compile(r"0|[1-9][0-9]{0,4}")


class BadModel(Refused):
    """The model cannot be offered as it is described."""

    code, status = "invalid_model", 422


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is said of a model; the fields are those of `CatalogModel`."""

    kind: str
    slug: str
    name: str
    version: str
    labels: Mapping[str, str]
    licence: str
    source: str
    tensor_contract: Mapping[str, Any]
    image_ms: int


def register(*, card: Card, data: bytes, now: datetime) -> CatalogModel:
    """Offer a model; the same slug with the same bytes again gives the row that is there.

    Other bytes under a known slug are a new version: it takes the place of the earlier ones
    in the offer, while jobs that run keep theirs.

    Raises:
        BadModel: unknown kind, no or too many bytes, or labels that are not class id (as
            decimal text) -> different names.
    """
    _check(card, data)
    blob = blobs.put(data, media_type=MEDIA_TYPE)
    with transaction.atomic(durable=True):
        model, is_new = CatalogModel.objects.get_or_create(
            slug=card.slug, blob=blob, defaults={**asdict(card), "created_at": now}
        )
        if is_new:
            earlier = CatalogModel.objects.filter(slug=card.slug, is_offered=True)
            earlier.exclude(pk=model.pk).update(is_offered=False)
    if is_new:
        logger.info("model registered", extra={"model_id": model.pk, "digest": blob.digest})
    return model


def offered(kind: str | None = None) -> QuerySet[CatalogModel]:
    """Return the models on offer, by name; of one kind, or of all."""
    models = CatalogModel.objects.filter(is_offered=True)
    return (models.filter(kind=kind) if kind else models).order_by("name", "pk")


def reference(
    model: CatalogModel, *, audience: str, expires_at: datetime
) -> messages.ModelReference:
    """Name a model to a node: digest, size, class ids, and a link good until `expires_at`."""
    return messages.ModelReference(
        digest=model.blob_id,
        size_bytes=model.blob.size_bytes,
        url=blobs.sign_url(digest=model.blob_id, audience=audience, expires_at=expires_at),
        kind="detect",
        class_ids=sorted(int(number) for number in model.labels),
    )


def _check(card: Card, data: bytes) -> None:
    names = list(card.labels.values())
    if card.kind not in CatalogModel.Kind.values:
        raise BadModel(f"There are no models of kind {card.kind}.")
    if not 0 < len(data) <= limits.MODEL_BYTES_MAX:
        raise BadModel(f"A model has 1 to {limits.MODEL_BYTES_MAX} bytes.")
    if not 0 < len(names) <= LABELS_MAX:
        raise BadModel(f"A model has 1 to {LABELS_MAX} classes.")
    if not all(_CLASS_ID.fullmatch(number) for number in card.labels):
        raise BadModel("Class ids are whole numbers from 0 to 99999, without leading zeros.")
    if not all(0 < len(name) <= LABEL_LENGTH_MAX for name in names):
        raise BadModel(f"A class's name has 1 to {LABEL_LENGTH_MAX} characters.")
    if len(set(names)) < len(names):
        raise BadModel("Two classes have the same name.")
