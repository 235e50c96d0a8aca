"""Moving money: with `rewards` the only functions that write to the ledger.

Spending (`hold`, `release_hold`) happens at once, inside the transaction of what it pays
for. Earning (`record_intents`) is recorded there and posted a moment later, in batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db import connection, transaction

from payments import arrays, chart, money, posting
from payments.models import LedgerAccount, Transfer, TransferIntent

INTENTS_MAX = 10_000
KEY_LENGTH_MAX = 200


class InsufficientFunds(Exception):
    """The user has less available than should be held."""


class KeyReused(Exception):
    """The key already stands for another movement of money."""


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A movement to be posted; with `due_at`, not before that time."""

    kind: Transfer.Kind
    key: str
    source: chart.Account
    destination: chart.Account
    amount_minor: int
    ref_type: str
    ref_id: str
    earned_by: str = ""
    due_at: datetime | None = None


def deposit(*, owner_id: int, amount_minor: int, key: str, now: datetime) -> Transfer:
    """Bring play money in: sandbox rail -> the owner's available. Safe to repeat.

    `key` names the deposit among those of its owner.

    Raises:
        InvalidAmount: nothing, a negative amount or too much.
        KeyReused: the owner used `key` for another amount.
    """
    money.require_positive(amount_minor)
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        raise ValueError(f"a key has 1 to {KEY_LENGTH_MAX} characters")
    rail, available = chart.rail(chart.SANDBOX_RAIL), chart.available(owner_id)
    with transaction.atomic(durable=True):
        ids = chart.open_accounts([rail, available])
        posting.lock_accounts(ids.values())
        return _move_once(
            Transfer(
                kind=Transfer.Kind.DEPOSIT,
                key=f"user:{owner_id}:deposit:{key}",
                debit_id=ids[rail.code],
                credit_id=ids[available.code],
                amount_minor=amount_minor,
                created_at=now,
            )
        )


def hold(
    *, owner_id: int, ref_type: str, ref_id: str, amount_minor: int, now: datetime
) -> Transfer:
    """Set money aside for `ref`: the owner's available -> a new escrow. Safe to repeat.

    Runs inside the caller's transaction. Two holds of one owner wait for each other;
    behind that stands the constraint `ledger_account_floor`.

    Raises:
        InvalidAmount: nothing, a negative amount or too much.
        InsufficientFunds: less than that is available; nothing was changed.
        KeyReused: another amount, or another owner's money, is held for `ref`.
    """
    assert connection.in_atomic_block
    money.require_positive(amount_minor)
    source = LedgerAccount.objects.filter(code=chart.available(owner_id).code).first()
    if source is None:
        raise InsufficientFunds
    source = posting.lock_accounts([source.pk])[source.pk]
    key = f"{ref_type}:{ref_id}:hold"
    if source.balance_minor < amount_minor and not Transfer.objects.filter(key=key).exists():
        raise InsufficientFunds
    escrow = chart.escrow(ref_type, ref_id, owner_id=owner_id)
    return _move_once(
        Transfer(
            kind=Transfer.Kind.HOLD,
            key=key,
            debit_id=source.pk,
            credit_id=chart.open_accounts([escrow])[escrow.code],
            amount_minor=amount_minor,
            ref_type=ref_type,
            ref_id=ref_id,
            created_at=now,
        )
    )


def reward_intents(
    *,
    job_id: str,
    replica_id: str,
    operator_id: int,
    reward_minor: int,
    fee_minor: int,
    funded_by: Literal["escrow", "reserve"],
    due_at: datetime,
    earned_by: str = "",
) -> list[Intent]:
    """Return what an accepted replica moves: its reward, the fee, and its maturing at `due_at`.

    `earned_by` is the node whose work it was, for `queries.earnings`.
    Paid from the job's escrow, or from the platform's reserve, which pays no fee to itself.
    """
    pays = chart.escrow("job", job_id) if funded_by == "escrow" else chart.reserve()
    pending, available = chart.pending(operator_id), chart.available(operator_id)
    movements = [
        (Transfer.Kind.REWARD, pays, pending, reward_minor, None),
        (Transfer.Kind.MATURE, pending, available, reward_minor, due_at),
    ]
    if funded_by == "escrow" and fee_minor > 0:
        movements.append((Transfer.Kind.FEE, pays, chart.fee(), fee_minor, None))
    return [
        Intent(
            kind=kind,
            key=f"replica:{replica_id}:{kind.value}",
            source=source,
            destination=destination,
            amount_minor=amount_minor,
            ref_type="replica",
            ref_id=replica_id,
            earned_by=earned_by,
            due_at=due,
        )
        for kind, source, destination, amount_minor, due in movements
    ]


def record_intents(intents: Sequence[Intent], *, now: datetime) -> None:
    """Record movements beside the facts that cause them; a key already recorded is skipped.

    Runs inside the caller's transaction: two queries, and no lock on any account.

    Raises:
        InvalidAmount: one of the amounts cannot be moved.
        UnknownEscrow: nothing was held for what one of them pays from.
    """
    assert connection.in_atomic_block
    if len(intents) > INTENTS_MAX:
        raise ValueError(f"at most {INTENTS_MAX} intents at once")
    ids = chart.open_accounts({end for i in intents for end in (i.source, i.destination)})
    for intent in intents:
        money.require_positive(intent.amount_minor)
    # One order for all callers, so that two with the same keys do not deadlock.
    in_order = sorted(intents, key=lambda intent: intent.key)
    if connection.vendor == "postgresql":
        _insert_at_once(in_order, ids, now=now)
        return
    TransferIntent.objects.bulk_create(
        [
            TransferIntent(
                kind=intent.kind,
                key=intent.key,
                debit_id=ids[intent.source.code],
                credit_id=ids[intent.destination.code],
                amount_minor=intent.amount_minor,
                ref_type=intent.ref_type,
                ref_id=intent.ref_id,
                earned_by=intent.earned_by,
                due_at=intent.due_at,
                created_at=now,
            )
            for intent in in_order
        ],
        ignore_conflicts=True,
    )


def _insert_at_once(intents: Sequence[Intent], ids: Mapping[str, int], *, now: datetime) -> None:
    """Insert over arrays: a tenth of what `bulk_create` spends on its parameters."""
    columns: list[list[object]] = [
        [intent.kind.value for intent in intents],
        [intent.key for intent in intents],
        [ids[intent.source.code] for intent in intents],
        [ids[intent.destination.code] for intent in intents],
        [intent.amount_minor for intent in intents],
        [intent.ref_type for intent in intents],
        [intent.ref_id for intent in intents],
        [intent.earned_by for intent in intents],
        [intent.due_at for intent in intents],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_INTENTS, [now, *map(arrays.literal, columns)])


_INSERT_INTENTS = """
INSERT INTO payments_transferintent (
    created_at, kind, key, debit_id, credit_id, amount_minor, ref_type, ref_id, earned_by, due_at
)
SELECT %s, * FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[],
    %s::text[], %s::timestamptz[]
)
ON CONFLICT DO NOTHING
"""


def post_intents(*, limit: int, now: datetime) -> int:
    """Post up to `limit` intents that wait for no date, oldest first; return how many.

    Any number of posters may run: each intent is posted once (Note [Locks of the ledger]).
    """
    ready = TransferIntent.objects.filter(posted_at__isnull=True, due_at__isnull=True)
    return posting.post_waiting(ready.order_by("pk"), limit=limit, now=now)


def mature(*, now: datetime, limit: int) -> int:
    """Make up to `limit` rewards available whose time has come; return how many.

    Those that are frozen or voided (`rewards`) are left where they are.
    """
    due = TransferIntent.objects.filter(
        posted_at__isnull=True, due_at__lte=now, frozen_at__isnull=True, voided_at__isnull=True
    )
    return posting.post_waiting(due.order_by("due_at", "pk"), limit=limit, now=now)


def release_hold(*, ref_type: str, ref_id: str, now: datetime) -> int:
    """Pay what the escrow still owes, then return its rest to its owner. Safe to repeat.

    Runs inside the caller's transaction, which must keep others from recording intents
    on this escrow: call it last, under the lock of the job. Returns the minor units
    returned, the same number each time.

    Raises:
        UnknownEscrow: nothing was ever held for `ref`.
    """
    assert connection.in_atomic_block
    description = chart.escrow(ref_type, ref_id)
    escrow_id = chart.open_accounts([description])[description.code]
    owner_id = LedgerAccount.objects.values_list("owner_id", flat=True).get(pk=escrow_id)
    assert owner_id is not None
    available = chart.available(owner_id)
    available_id = chart.open_accounts([available])[available.code]
    waiting = posting.read(
        TransferIntent.objects.filter(
            debit_id=escrow_id, posted_at__isnull=True, voided_at__isnull=True
        ).order_by("pk")
    )
    accounts = posting.lock_accounts({escrow_id, available_id} | posting.accounts_of(waiting))
    posting.post(waiting, accounts=accounts, now=now)
    key = f"{ref_type}:{ref_id}:release"
    earlier = Transfer.objects.filter(key=key).first()
    rest_minor = LedgerAccount.objects.get(pk=escrow_id).balance_minor
    if earlier is not None or rest_minor == 0:
        return earlier.amount_minor if earlier is not None else 0
    _move_once(
        Transfer(
            kind=Transfer.Kind.RELEASE,
            key=key,
            debit_id=escrow_id,
            credit_id=available_id,
            amount_minor=rest_minor,
            ref_type=ref_type,
            ref_id=ref_id,
            created_at=now,
        )
    )
    return rest_minor


def _move_once(transfer: Transfer) -> Transfer:
    """Insert a transfer and move its balances, unless its key has done so already.

    The caller holds the lock of an account that every movement of this key touches.
    """
    earlier = Transfer.objects.filter(key=transfer.key).first()
    if earlier is None:
        transfer.save(force_insert=True)
        posting.move_balances([(transfer.debit_id, transfer.credit_id, transfer.amount_minor)])
        return transfer
    if (earlier.debit_id, earlier.credit_id, earlier.amount_minor) != (
        transfer.debit_id,
        transfer.credit_id,
        transfer.amount_minor,
    ):
        raise KeyReused(transfer.key)
    return earlier
