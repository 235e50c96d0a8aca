"""The models that jobs can ask for."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from tasks import blobs
from tasks.models import CatalogModel
from workers.protocol import messages


def offered(kind: str | None = None) -> QuerySet[CatalogModel]:
    """Return the models on offer, by name."""
    models = CatalogModel.objects.filter(is_offered=True)
    return (models.filter(kind=kind) if kind else models).order_by("name", "pk")


def reference(
    model: CatalogModel, *, audience: str, expires_at: datetime
) -> messages.ModelReference:
    """Name a model to a node: digest, size, class ids, and a link to fetch it."""
    return messages.ModelReference(
        digest=model.blob_id,
        size_bytes=model.blob.size_bytes,
        url=blobs.sign_url(digest=model.blob_id, audience=audience, expires_at=expires_at),
        kind="detect",
        class_ids=sorted(int(number) for number in model.labels),
    )
