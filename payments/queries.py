"""Reading money: wallets, statements, what a job has cost, what a replica has earned."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypedDict

from django.db.models import BigIntegerField, Case, F, Q, QuerySet, Sum, Value, When

from payments import chart, money
from payments.models import LedgerAccount, Transfer, TransferIntent

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

STATEMENT_CHUNK_ROWS = 2000

#: The accounts that make up a wallet. Escrows are shown with their jobs, not line by line here.
_PERSONAL = (
    LedgerAccount.Kind.USER_AVAILABLE,
    LedgerAccount.Kind.USER_PENDING,
    LedgerAccount.Kind.USER_PAID,
)


@dataclass(frozen=True, kw_only=True)
class Wallet:
    """What a user has, as of the last posting."""

    asset: str
    available_minor: int
    pending_minor: int
    #: Of `pending_minor`: kept back while the work is looked at again.
    frozen_minor: int
    #: Set aside in the escrows of the user's own jobs.
    held_minor: int
    #: All that ever left to a rail.
    paid_minor: int


class Seen(TypedDict):
    """What a transfer looks like from one user's side."""

    #: Change of available plus pending: negative when it leaves them, 0 between the two.
    signed_minor: int
    #: Kinds of account, without whose they are.
    source: str
    destination: str


@dataclass(frozen=True, kw_only=True)
class StatementRow:
    """One line of a statement; a year's `signed_minor` sum to the change of the wallet."""

    at: datetime
    kind: str
    source: str
    destination: str
    amount_minor: int
    signed_minor: int
    ref_type: str
    ref_id: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Escrow:
    """Where the money set aside for one thing is; the three sum to what was held."""

    held_minor: int
    spent_minor: int
    returned_minor: int


@dataclass(frozen=True, kw_only=True)
class RewardState:
    """What one replica earned, and where that is.

    `released_at` may lie ahead while it is pending, is the earliest time while it is frozen,
    and null when it was voided.
    """

    reward_minor: int
    state: Literal["pending", "frozen", "voided", "available"]
    released_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Earnings:
    """What one node earned for its owner, minor units."""

    pending_minor: int
    #: Of `pending_minor`: kept back while the work is looked at again.
    frozen_minor: int
    available_minor: int


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Movements that were decided and are not made yet."""

    #: To be posted at once, and when the oldest of them was decided.
    ready: int
    oldest_ready_at: datetime | None
    #: Rewards whose time has come, not yet available.
    due: int


def waiting(*, now: datetime, count_max: int) -> Waiting:
    """Say how far the poster is behind; counts stop at `count_max`.

    Three queries, over intent_ready and intent_due.
    """
    ready = TransferIntent.objects.filter(posted_at__isnull=True, due_at__isnull=True)
    due = TransferIntent.objects.filter(
        posted_at__isnull=True, due_at__lte=now, frozen_at__isnull=True, voided_at__isnull=True
    )
    return Waiting(
        ready=ready.order_by()[:count_max].count(),
        oldest_ready_at=ready.order_by("pk").values_list("created_at", flat=True).first(),
        due=due.order_by()[:count_max].count(),
    )


def wallet(owner_id: int) -> Wallet:
    """Return the balances of a user; zeros for who has never had money. Two queries."""
    balances, debits = dict[str, int](), dict[str, int]()
    for kind, balance_minor, debits_minor in (
        LedgerAccount.objects.filter(owner_id=owner_id)
        .values("kind")
        .annotate(balance=Sum(F("credits_minor") - F("debits_minor")), debits=Sum("debits_minor"))
        .values_list("kind", "balance", "debits")
    ):
        balances[kind], debits[kind] = int(balance_minor), int(debits_minor)
    return Wallet(
        asset=money.ASSET,
        available_minor=balances.get(LedgerAccount.Kind.USER_AVAILABLE, 0),
        pending_minor=balances.get(LedgerAccount.Kind.USER_PENDING, 0),
        frozen_minor=_frozen_minor(owner_id),
        held_minor=balances.get(LedgerAccount.Kind.ESCROW, 0),
        paid_minor=debits.get(LedgerAccount.Kind.USER_PAID, 0),
    )


def transfers(
    owner_id: int, *, kinds: Collection[Transfer.Kind] = ()
) -> QuerySet[WithAnnotations[Transfer, Seen]]:
    """Return the transfers of a user's wallet, newest first, each annotated with `Seen`.

    Only of the given kinds, if any are given. One query for the accounts, one when read.
    """
    return _seen(owner_id, kinds).order_by("-pk")


def statement(owner_id: int, year: int) -> Iterator[StatementRow]:
    """Stream a calendar year (UTC) of a user's wallet, oldest first."""
    rows = _seen(owner_id, ()).filter(
        created_at__gte=datetime(year, 1, 1, tzinfo=UTC),
        created_at__lt=datetime(year + 1, 1, 1, tzinfo=UTC),
    )
    for row in rows.order_by("pk").iterator(chunk_size=STATEMENT_CHUNK_ROWS):
        yield StatementRow(
            at=row.created_at,
            kind=row.kind,
            source=row.source,
            destination=row.destination,
            amount_minor=row.amount_minor,
            signed_minor=row.signed_minor,
            ref_type=row.ref_type,
            ref_id=row.ref_id,
            key=row.key,
        )


def escrow(ref_type: str, ref_id: str) -> Escrow:
    """Return what is held, spent and returned for `ref`; zeros when nothing was ever held."""
    code = chart.escrow(ref_type, ref_id).code
    account = LedgerAccount.objects.filter(code=code).first()
    if account is None:
        return Escrow(held_minor=0, spent_minor=0, returned_minor=0)
    returned_minor = (
        Transfer.objects.filter(debit=account, kind=Transfer.Kind.RELEASE).aggregate(
            total=Sum("amount_minor", default=0)
        )
    )["total"]
    return Escrow(
        held_minor=account.balance_minor,
        spent_minor=account.debits_minor - returned_minor,
        returned_minor=returned_minor,
    )


def rewards(replica_ids: Collection[str]) -> dict[str, RewardState]:
    """Return what each replica earned; one never rewarded is absent. One query."""
    maturing = TransferIntent.objects.filter(
        key__in=[f"replica:{replica_id}:mature" for replica_id in replica_ids]
    )
    found = dict[str, RewardState]()
    for intent in maturing:
        found[intent.ref_id] = RewardState(
            reward_minor=intent.amount_minor,
            state=_reward_state(intent),
            released_at=None if intent.voided_at else intent.posted_at or intent.due_at,
        )
    return found


def _reward_state(intent: TransferIntent) -> Literal["pending", "frozen", "voided", "available"]:
    if intent.posted_at:
        return "available"
    if intent.voided_at:
        return "voided"
    return "frozen" if intent.frozen_at else "pending"


def _frozen_minor(owner_id: int) -> int:
    # Uses index: intent_frozen, which holds only what is frozen now.
    frozen = TransferIntent.objects.filter(
        frozen_at__isnull=False, debit__code=chart.pending(owner_id).code
    )
    return int(frozen.aggregate(total=Sum("amount_minor", default=0))["total"])


def _seen(
    owner_id: int, kinds: Collection[Transfer.Kind]
) -> QuerySet[WithAnnotations[Transfer, Seen]]:
    # The few ids, not a join: both sides of the OR then use their index
    # (transfer_by_debit, transfer_by_credit).
    own = list(
        LedgerAccount.objects.filter(owner_id=owner_id, kind__in=_PERSONAL).values_list(
            "pk", flat=True
        )
    )
    rows = Transfer.objects.filter(Q(debit__in=own) | Q(credit__in=own))
    if kinds:
        rows = rows.filter(kind__in=kinds)
    return rows.annotate(
        signed_minor=Case(
            When(debit__in=own, credit__in=own, then=Value(0)),
            When(credit__in=own, then=F("amount_minor")),
            default=-F("amount_minor"),
            output_field=BigIntegerField(),
        ),
        source=F("debit__kind"),
        destination=F("credit__kind"),
    )


def earnings(earners: Collection[str]) -> dict[str, Earnings]:
    """Sum what each of these nodes earned; one without rewards is absent.

    One query, from the index intent_by_earner alone. What was voided is not counted.
    """
    waits = Q(posted_at__isnull=True, voided_at__isnull=True)
    sums = (
        TransferIntent.objects.filter(kind=Transfer.Kind.MATURE, earned_by__in=earners)
        .values("earned_by")
        .annotate(
            pending=Sum("amount_minor", filter=waits, default=0),
            frozen=Sum("amount_minor", filter=Q(frozen_at__isnull=False), default=0),
            available=Sum("amount_minor", filter=Q(posted_at__isnull=False), default=0),
        )
    )
    return {
        row["earned_by"]: Earnings(
            pending_minor=int(row["pending"]),
            frozen_minor=int(row["frozen"]),
            available_minor=int(row["available"]),
        )
        for row in sums
    }
