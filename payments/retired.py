"""Posted intents of old work: exported, then removed. Transfers stay for ever.

A posted intent says nothing that its transfer does not, but for the `mature` ones, which
`queries.earnings` sums.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from payments.models import Transfer, TransferIntent

_KINDS = (Transfer.Kind.REWARD, Transfer.Kind.FEE)
_ALL = (*_KINDS, Transfer.Kind.MATURE)


def has_waiting(*, replica_ids: Collection[str]) -> bool:
    """Say whether any of their money is still on its way. One query, by key."""
    waiting = Q(posted_at=None, voided_at=None) | Q(frozen_at__isnull=False)
    return _of(replica_ids, kinds=_ALL).filter(waiting).exists()


def export(*, replica_ids: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows that `remove` would remove, as columns and values."""
    return [dict(row) for row in _removable(replica_ids).order_by("pk").values()]


def remove(*, replica_ids: Collection[str]) -> int:
    """Delete posted rewards and fees of these replicas; return how many.

    Runs inside the caller's transaction.
    """
    assert connection.in_atomic_block
    return _removable(replica_ids).delete()[0]


def _removable(replica_ids: Collection[str]) -> QuerySet[TransferIntent]:
    return _of(replica_ids, kinds=_KINDS).filter(posted_at__isnull=False)


def _of(
    replica_ids: Collection[str], *, kinds: Collection[Transfer.Kind]
) -> QuerySet[TransferIntent]:
    keys = [f"replica:{name}:{kind.value}" for name in replica_ids for kind in kinds]
    return TransferIntent.objects.filter(key__in=keys)
