"""The messages that start replicas, built for many at once.

Links name the node as their audience and one digest each. A gold picture stands among the
others like any of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import cast

from django.db.models import QuerySet

from tasks import blobs, catalog
from tasks.models import CatalogModel, Item, Replica
from tasks.verification import agreement
from workers.protocol import messages
from workers.protocol.allowance import Declared

#: Signed URLs outlive the lease a little, so that a slow download is not cut off.
URL_LIFE = timedelta(minutes=10)
#: An assignment not begun by then is void; the lease has run out long before.
ASSIGNMENT_LIFE = timedelta(minutes=5)

#: Digest and bytes of a picture.
Shown = tuple[str, int]


def build(replicas: QuerySet[Replica], *, now: datetime) -> list[messages.Assignment]:
    """Return the message that starts each of `replicas`, in the order of their ids.

    The same row always gives the same work. Three queries; rows, not objects, because this
    is done for every chunk.
    """
    rows = list(
        replicas.order_by("pk").values_list(
            "pk", "node_id", "job_id", "nonce", "chunk_id", "job__model_id",
            "job__score_threshold", "gold_position", "gold__blob_id", "gold__blob__size_bytes",
            "job__client_category",
        )
    )  # fmt: skip
    pictures = _pictures({row[4] for row in rows})
    models = CatalogModel.objects.select_related("blob").in_bulk({row[5] for row in rows})
    expires_at = now + URL_LIFE
    references: dict[tuple[str, str], messages.ModelReference] = {}
    built = []
    for (
        pk, node_id, job_id, nonce, chunk_id, model_id, threshold, place, digest, size, category
    ) in rows:  # fmt: skip
        shown = list(pictures[chunk_id])
        if place is not None:
            shown.insert(place, (digest, size))
        if (model_id, node_id) not in references:
            references[model_id, node_id] = catalog.reference(
                models[model_id], audience=node_id, expires_at=expires_at
            )
        built.append(
            messages.Assignment(
                sent_at=now,
                assignment=str(pk),
                node=node_id,
                job=job_id,
                nonce=nonce,
                model=references[model_id, node_id],
                score_floor=agreement.score_floor(threshold),
                client_category=cast("Declared", category),
                inputs=_inputs(shown, node_id=node_id, expires_at=expires_at),
                expires_at=now + ASSIGNMENT_LIFE,
            )
        )
    return built


def _pictures(chunk_ids: Iterable[int]) -> dict[int, list[Shown]]:
    pictures: dict[int, list[Shown]] = defaultdict(list)
    items = Item.objects.filter(chunk__any_of=chunk_ids).order_by("chunk", "position")
    for chunk_id, digest, size_bytes in items.values_list(
        "chunk", "image__blob_id", "image__blob__size_bytes"
    ):
        pictures[chunk_id].append((digest, size_bytes))
    return pictures


def _inputs(shown: Iterable[Shown], *, node_id: str, expires_at: datetime) -> list[messages.Input]:
    return [
        messages.Input(
            position=position,
            digest=digest,
            size_bytes=size_bytes,
            url=blobs.sign_url(digest=digest, audience=node_id, expires_at=expires_at),
        )
        for position, (digest, size_bytes) in enumerate(shown)
    ]
