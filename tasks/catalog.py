"""The models that jobs can ask for: the platform's own, and those of clients."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from tasks import blobs
from tasks.errors import Refused
from tasks.models import CatalogModel
from workers.protocol import limits, messages
from workers.protocol.manifest import Contract

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/octet-stream"
#: Characters of a class's name.
LABEL_LENGTH_MAX = 100
_CLASS_ID = re.compile(r"0|[1-9][0-9]{0,4}")


class BadModel(Refused):
    """The model cannot be offered as it is described."""

    code, status = "invalid_model", 422


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is said of a model; the fields are those of `CatalogModel`."""

    slug: str
    name: str
    version: str
    labels: Mapping[str, str]
    licence: str
    source: str
    contract: Contract
    image_ms: int
    #: 8-bit arithmetic: processors differ in it, so answers are compared within one class.
    is_class_pinned: bool = False
    check_report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """The values of the row."""
        return {
            "kind": self.contract.kind,
            "name": self.name,
            "version": self.version,
            "labels": dict(self.labels),
            "licence": self.licence,
            "source": self.source,
            "tensor_contract": self.contract.model_dump(mode="json"),
            "image_ms": self.image_ms,
            "is_class_pinned": self.is_class_pinned,
            "check_report": dict(self.check_report),
        }


def register(*, card: Card, data: bytes, now: datetime) -> CatalogModel:
    """Offer a model to everyone; the same slug with the same bytes again gives the same row.

    Other bytes under a known slug are a new version: it takes the place of the earlier ones
    in the offer, while jobs that run keep theirs.

    Raises:
        BadModel: no or too many bytes, or labels that are not class id (as decimal text) ->
            different names.
    """
    check(card, data)
    blob = blobs.put(data, media_type=MEDIA_TYPE)
    with transaction.atomic(durable=True):
        model, is_new = CatalogModel.objects.get_or_create(
            owner=None,
            slug=card.slug,
            blob=blob,
            defaults={**card.fields, "visibility": _V.PUBLIC, "created_at": now},
        )
        if is_new:
            _withdraw_earlier(model)
    if is_new:
        logger.info("model registered", extra={"model_id": model.pk, "digest": blob.digest})
    return model


def add(*, owner_id: int, card: Card, data: bytes, now: datetime) -> CatalogModel:
    """Keep a client's model, for its owner alone; the same slug again is a new version.

    Raises:
        BadModel: as `register` says.
    """
    check(card, data)
    blob = blobs.put(data, media_type=MEDIA_TYPE)
    with transaction.atomic(durable=True):
        model = CatalogModel.objects.create(
            owner_id=owner_id,
            slug=card.slug,
            blob=blob,
            visibility=_V.PRIVATE,
            created_at=now,
            **card.fields,
        )
        _withdraw_earlier(model)
    logger.info("model added", extra={"model_id": model.pk, "digest": blob.digest})
    return model


def offered(kind: str | None = None) -> QuerySet[CatalogModel]:
    """Return the models on offer to everyone, by name; of one kind, or of all."""
    models = CatalogModel.objects.filter(is_offered=True, visibility=_V.PUBLIC)
    return (models.filter(kind=kind) if kind else models).order_by("name", "pk")


def usable_by(owner_id: int) -> QuerySet[CatalogModel]:
    """Return the models a client may use: those on offer to everyone, and their own."""
    is_theirs = Q(visibility=_V.PUBLIC) | Q(owner_id=owner_id)
    return CatalogModel.objects.filter(is_theirs, is_offered=True)


def contract(model: CatalogModel) -> Contract:
    """Return how the model is used."""
    return Contract.model_validate_json(json.dumps(model.tensor_contract))


def reference(
    model: CatalogModel, *, audience: str, expires_at: datetime
) -> messages.ModelReference:
    """Name a model to a node: digest, contract, class ids, a link good until `expires_at`."""
    return messages.ModelReference(
        digest=model.blob_id,
        size_bytes=model.blob.size_bytes,
        url=blobs.sign_url(digest=model.blob_id, audience=audience, expires_at=expires_at),
        kind="classify" if model.kind == CatalogModel.Kind.CLASSIFY else "detect",
        origin="built_in" if model.owner_id is None else "client",
        contract=contract(model),
        class_ids=sorted(int(number) for number in model.labels),
    )


def check(card: Card, data: bytes) -> None:
    """Check what is said of a model, not the model itself.

    Raises:
        BadModel.
    """
    names = list(card.labels.values())
    if not 0 < len(data) <= limits.MODEL_BYTES_MAX:
        raise BadModel(f"A model has 1 to {limits.MODEL_BYTES_MAX} bytes.")
    if not 0 < len(names) <= limits.LABELS_MAX:
        raise BadModel(f"A model has 1 to {limits.LABELS_MAX} classes.")
    if not all(_CLASS_ID.fullmatch(number) for number in card.labels):
        raise BadModel("Class ids are whole numbers from 0 to 99999, without leading zeros.")
    if not all(0 < len(name) <= LABEL_LENGTH_MAX for name in names):
        raise BadModel(f"A class's name has 1 to {LABEL_LENGTH_MAX} characters.")
    if len(set(names)) < len(names):
        raise BadModel("Two classes have the same name.")


def _withdraw_earlier(model: CatalogModel) -> None:
    """Take the earlier versions of the same owner's slug off the offer."""
    assert transaction.get_connection().in_atomic_block
    earlier = CatalogModel.objects.filter(owner_id=model.owner_id, slug=model.slug, is_offered=True)
    earlier.exclude(pk=model.pk).update(is_offered=False)


_V = CatalogModel.Visibility
