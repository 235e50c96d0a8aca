"""The set-based poster: a batch of intents becomes transfers in five statements.

Note [Locks of the ledger]
    Every balance changes under a lock on its account row, and all locks of one batch are
    taken at once in the order of primary keys, so posters and holds cannot deadlock. The
    lock is NO KEY UPDATE: recording an intent takes KEY SHARE on its accounts (the foreign
    key) and must never wait for a poster. An intent is posted only by who holds both its
    accounts; its own row is locked as well, against `rewards`, which freezes and voids
    without locking accounts. A poster skips rows that are locked: it holds accounts, so it
    must wait for nothing more. SQLite has one writer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from payments import arrays, chart
from payments.models import LedgerAccount, TransferIntent

logger = logging.getLogger(__name__)

#: Intents in one transaction; three parameters an account stay below SQLite's 32,766.
BATCH_MAX = 1000

# All tables and columns are named here; only placeholders are ever put into the text.
_INSERT = """
INSERT INTO payments_transfer
    (key, kind, debit_id, credit_id, amount_minor, ref_type, ref_id, created_at)
SELECT key, kind, COALESCE(%s, debit_id), credit_id, amount_minor, ref_type, ref_id, %s
FROM payments_transferintent
WHERE id {among}
ORDER BY id
ON CONFLICT (key) DO NOTHING
RETURNING debit_id, credit_id, amount_minor
"""
_UPDATE = """
UPDATE payments_ledgeraccount
SET debits_minor = debits_minor + moved.column2, credits_minor = credits_minor + moved.column3
FROM (VALUES {placeholders}) AS moved
WHERE payments_ledgeraccount.id = moved.column1
"""


class Waiting(NamedTuple):
    """What posting reads of an intent: rows, not objects, because this is done for each."""

    pk: int
    debit_id: int
    credit_id: int
    amount_minor: int
    key: str


def read(intents: QuerySet[TransferIntent]) -> list[Waiting]:
    """Read intents that may be posted, in the order of the queryset."""
    return [Waiting(*row) for row in intents.values_list(*Waiting._fields)]


def post_waiting(waiting: QuerySet[TransferIntent], *, limit: int, now: datetime) -> int:
    """Post up to `limit` intents of an ordered queryset, each batch in its own transaction.

    Returns the number of intents posted.
    """
    posted = 0
    for start in range(0, limit, BATCH_MAX):
        size = min(BATCH_MAX, limit - start)
        with transaction.atomic(durable=True):
            batch = read(waiting[:size])
            settled = post(batch, accounts=lock_accounts(accounts_of(batch)), now=now)
        posted += settled
        if settled < size:
            break
    return posted


def accounts_of(intents: Iterable[Waiting]) -> set[int]:
    """Return the primary keys of the accounts that posting these intents may touch."""
    touched = {pk for intent in intents for pk in (intent.debit_id, intent.credit_id)}
    return touched | {_reserve_id()} if touched else touched


def lock_accounts(account_ids: Collection[int]) -> dict[int, LedgerAccount]:
    """Lock the accounts in order until the transaction ends and read their balances."""
    assert connection.in_atomic_block
    accounts = LedgerAccount.objects.select_for_update(no_key=True, of=("self",))
    return {account.pk: account for account in accounts.filter(pk__in=account_ids).order_by("pk")}


def post(
    intents: Sequence[Waiting], *, accounts: Mapping[int, LedgerAccount], now: datetime
) -> int:
    """Post intents, all of whose accounts the caller has just locked.

    An intent that another poster has posted meanwhile, or that was frozen, voided or
    postponed or is about to be, is left out. One that its escrow cannot pay is paid from the reserve: the work was accepted. One that any other
    account cannot pay waits. Returns the number of intents posted.
    """
    balances = {pk: account.balance_minor for pk, account in accounts.items()}
    posted = 0
    for start in range(0, len(intents), BATCH_MAX):
        still_waiting = TransferIntent.objects.select_for_update(
            no_key=True, skip_locked=True, of=("self",)
        ).filter(
            Q(due_at__isnull=True) | Q(due_at__lte=now),
            pk__any_of=[intent.pk for intent in intents[start : start + BATCH_MAX]],
            posted_at__isnull=True,
            frozen_at__isnull=True,
            voided_at__isnull=True,
        )
        funded, uncovered = _fund(read(still_waiting.order_by("pk")), accounts, balances)
        moved = _insert_transfers(funded, now=now)
        if uncovered:
            moved += _insert_transfers(uncovered, debit_id=_reserve_id(), now=now)
        move_balances(moved)
        settled = [*funded, *uncovered]
        TransferIntent.objects.filter(pk__any_of=settled).update(posted_at=now)
        posted += len(settled)
    return posted


def move_balances(moved: Iterable[tuple[int, int, int]]) -> None:
    """Add `(debit, credit, amount)` rows to the totals of their accounts, in one statement."""
    debits, credits_ = Counter[int](), Counter[int]()
    for debit_id, credit_id, amount_minor in moved:
        debits[debit_id] += amount_minor
        credits_[credit_id] += amount_minor
    totals = [(pk, debits[pk], credits_[pk]) for pk in sorted({*debits, *credits_})]
    if totals:
        placeholders = ", ".join(["(%s, %s, %s)"] * len(totals))
        with connection.cursor() as cursor:
            cursor.execute(
                _UPDATE.format(placeholders=placeholders),
                [value for row in totals for value in row],
            )


def _fund(
    intents: Iterable[Waiting],
    accounts: Mapping[int, LedgerAccount],
    balances: dict[int, int],
) -> tuple[list[int], list[int]]:
    """Walk the intents in order, spending from `balances`.

    Returns the primary keys of those their source can pay, and of those that an escrow
    should have paid but cannot.
    """
    funded, uncovered = list[int](), list[int]()
    for intent in intents:
        source = accounts[intent.debit_id]
        if not source.has_floor or balances[source.pk] >= intent.amount_minor:
            balances[source.pk] -= intent.amount_minor
            funded.append(intent.pk)
        elif source.kind == LedgerAccount.Kind.ESCROW:
            logger.error(
                "escrow short, reserve pays", extra={"escrow": source.code, "key": intent.key}
            )
            uncovered.append(intent.pk)
        else:
            logger.warning("intent waits for money", extra={"key": intent.key})
            continue
        balances[intent.credit_id] += intent.amount_minor
    return funded, uncovered


def _insert_transfers(
    intent_ids: Sequence[int], *, now: datetime, debit_id: int | None = None
) -> list[tuple[int, int, int]]:
    """Insert the transfers of these intents; return what was really inserted.

    A key that is a transfer already is left out, so its money does not move twice.
    `debit_id` replaces the account that pays.
    """
    if not intent_ids:
        return []
    ids: list[Any] = [*intent_ids]
    among = f"IN ({', '.join(['%s'] * len(ids))})"
    if connection.vendor == "postgresql":
        ids, among = [arrays.literal(ids)], "= ANY(%s::bigint[])"
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT.format(among=among),
            [debit_id, connection.ops.adapt_datetimefield_value(now), *ids],
        )
        moved: list[tuple[int, int, int]] = cursor.fetchall()
    return moved


def _reserve_id() -> int:
    account = chart.reserve()
    return chart.open_accounts([account])[account.code]
