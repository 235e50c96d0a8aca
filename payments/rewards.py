"""Stopping rewards on their way: frozen while in question, voided when the work was wrong.

A reward lies in its operator's pending account until its MATURE intent is posted. All here
acts on that intent alone: no account is locked, so these may be called at any point of a
transaction of the work. Each is safe to repeat; a replica without a reward is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Literal

from django.db import connection
from django.db.models import F

from payments import chart
from payments.models import Transfer, TransferIntent

#: "voided": it never becomes available. "matured": too late, it is available already.
Voided = Literal["voided", "matured"]


def freeze(*, replica_ids: Collection[str], now: datetime) -> int:
    """Keep rewards from becoming available until `unfreeze`; return how many were stopped now.

    Those already available, frozen or voided stay as they are.
    """
    return _change(
        replica_ids,
        lambda intent: intent.frozen_at is None and intent.voided_at is None,
        frozen_at=now,
    )


def unfreeze(*, replica_ids: Collection[str]) -> int:
    """Let frozen rewards go on; return how many. One whose time has passed matures next."""
    return _change(replica_ids, lambda intent: intent.frozen_at is not None, frozen_at=None)


def postpone(*, replica_ids: Collection[str], due_at: datetime) -> int:
    """Let rewards become available at `due_at`, later or sooner than planned; return how many."""
    return _change(
        replica_ids,
        lambda intent: intent.voided_at is None and intent.due_at != due_at,
        due_at=due_at,
    )


def void(*, replica_ids: Collection[str], now: datetime) -> dict[str, Voided]:
    """Take rewards back that are not available yet: pending -> reserve, through the outbox.

    Says of each what became of it; a replica without a reward is absent. The fee stays.
    It does not matter whether the reward itself is posted yet: its VOID waits for it.
    """
    found = _lock(replica_ids)
    waiting = [row for row in found if row.posted_at is None and row.voided_at is None]
    TransferIntent.objects.filter(pk__in=[row.pk for row in waiting]).update(
        voided_at=now, frozen_at=None, voids=F("voids") + 1
    )
    _record(waiting, kind=Transfer.Kind.VOID, now=now)
    return {row.ref_id: "matured" if row.posted_at else "voided" for row in found}


def pay_again(*, replica_ids: Collection[str], due_at: datetime, now: datetime) -> list[str]:
    """Pay voided rewards after all: reserve -> pending, available at `due_at`.

    Returns the replicas whose reward had been voided.
    """
    voided = [row for row in _lock(replica_ids) if row.voided_at is not None]
    TransferIntent.objects.filter(pk__in=[row.pk for row in voided]).update(
        voided_at=None, due_at=due_at
    )
    _record(voided, kind=Transfer.Kind.REWARD, now=now)
    return [row.ref_id for row in voided]


def _lock(replica_ids: Collection[str]) -> list[TransferIntent]:
    """Lock the maturing of these replicas' rewards in order, until the transaction ends."""
    assert connection.in_atomic_block
    if not replica_ids:
        return []
    return list(
        TransferIntent.objects.select_for_update(no_key=True, of=("self",))
        .filter(key__in=[f"replica:{replica_id}:mature" for replica_id in replica_ids])
        .order_by("pk")
    )


def _change(
    replica_ids: Collection[str], applies: Callable[[TransferIntent], bool], **values: object
) -> int:
    """Set `values` on the rewards that still wait and to which the change applies."""
    chosen = [row.pk for row in _lock(replica_ids) if row.posted_at is None and applies(row)]
    if not chosen:
        return 0
    return TransferIntent.objects.filter(pk__in=chosen).update(**values)


def _record(
    intents: Sequence[TransferIntent],
    *,
    kind: Literal[Transfer.Kind.VOID, Transfer.Kind.REWARD],
    now: datetime,
) -> None:
    """Record the movement between pending and reserve that voiding or its end takes.

    Keys are numbered by the voids so far, as read before this one: `replica:7:void`,
    `replica:7:reward:1`, `replica:7:void:1`, `replica:7:reward:2`.
    """
    if not intents:
        return
    account = chart.reserve()
    reserve_id = chart.open_accounts([account])[account.code]
    is_void = kind == Transfer.Kind.VOID
    TransferIntent.objects.bulk_create(
        [
            TransferIntent(
                kind=kind,
                key=f"replica:{row.ref_id}:{kind.value}" + (f":{row.voids}" if row.voids else ""),
                debit_id=row.debit_id if is_void else reserve_id,
                credit_id=reserve_id if is_void else row.debit_id,
                amount_minor=row.amount_minor,
                ref_type=row.ref_type,
                ref_id=row.ref_id,
                earned_by=row.earned_by,
                created_at=now,
            )
            for row in intents
        ]
    )
