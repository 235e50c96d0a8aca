"""What must always be true of the ledger, checked against all of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from payments import money
from payments.models import LedgerAccount, Transfer, TransferIntent

#: The poster is woken by every commit; an intent older than this means it is not running.
INTENT_AGE_MAX = timedelta(minutes=10)

#: How many offenders a failed check names.
NAMED_MAX = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    """One invariant, and whether it holds."""

    name: str
    ok: bool
    detail: str


def audit(*, now: datetime, intent_age_max: timedelta = INTENT_AGE_MAX) -> list[Check]:
    """Check every invariant of the ledger; reads all of it, so nightly or by hand.

    Run it in a transaction of isolation REPEATABLE READ to audit a busy ledger: each
    check is one statement, but two checks may see different moments.
    """
    return [
        _debits_equal_credits(),
        _nobody("balances_match_transfers", _unlike_their_transfers(), "code"),
        _nobody("floors_hold", _below_floor(), "code"),
        _nobody("intents_are_posted", _overdue(now - intent_age_max), "key"),
        _nobody("posted_intents_have_transfers", _without_transfer(), "key"),
        _nobody("stopped_rewards_stay", _stopped_but_moved(), "key"),
        _nobody("pending_equals_rewards", _unlike_their_rewards(), "code"),
    ]


def _debits_equal_credits() -> Check:
    totals = LedgerAccount.objects.aggregate(
        debits=Sum("debits_minor", default=0), credits=Sum("credits_minor", default=0)
    )
    return Check(
        name="debits_equal_credits",
        ok=totals["debits"] == totals["credits"],
        detail=(
            f"debits {money.format_amount(int(totals['debits']))}, "
            f"credits {money.format_amount(int(totals['credits']))} {money.ASSET}"
        ),
    )


def _nobody(
    name: str, offenders: QuerySet[LedgerAccount] | QuerySet[TransferIntent], label: str
) -> Check:
    named = list(offenders.order_by("pk").values_list(label, flat=True)[: NAMED_MAX + 1])
    detail = ", ".join(named[:NAMED_MAX]) + (", ..." if len(named) > NAMED_MAX else "")
    return Check(name=name, ok=not named, detail=detail or "none")


def _unlike_their_transfers() -> QuerySet[LedgerAccount]:
    return LedgerAccount.objects.exclude(
        debits_minor=_total_of("debit"), credits_minor=_total_of("credit")
    )


def _total_of(side: str) -> Coalesce:
    grouped = (Transfer.objects.filter(**{side: OuterRef("pk")}).order_by().values(side)).annotate(
        total=Sum("amount_minor")
    )
    return Coalesce(Subquery(grouped.values("total")), 0)


def _below_floor() -> QuerySet[LedgerAccount]:
    return LedgerAccount.objects.filter(has_floor=True, credits_minor__lt=F("debits_minor"))


def _overdue(before: datetime) -> QuerySet[TransferIntent]:
    return TransferIntent.objects.filter(
        posted_at__isnull=True, frozen_at__isnull=True, voided_at__isnull=True
    ).filter(Q(due_at__isnull=True, created_at__lt=before) | Q(due_at__lt=before))


def _without_transfer() -> QuerySet[TransferIntent]:
    same = Transfer.objects.filter(
        key=OuterRef("key"), credit=OuterRef("credit"), amount_minor=OuterRef("amount_minor")
    )
    return TransferIntent.objects.filter(~Exists(same), posted_at__isnull=False)


def _stopped_but_moved() -> QuerySet[TransferIntent]:
    """Frozen or voided rewards that became available all the same."""
    return TransferIntent.objects.filter(
        Q(frozen_at__isnull=False) | Q(voided_at__isnull=False),
        Exists(Transfer.objects.filter(key=OuterRef("key"))),
    )


def _unlike_their_rewards() -> QuerySet[LedgerAccount]:
    """Pending accounts that, once all is posted, do not hold what is to become available."""
    waiting = TransferIntent.objects.filter(posted_at__isnull=True, voided_at__isnull=True)
    return (
        LedgerAccount.objects.filter(kind=LedgerAccount.Kind.USER_PENDING)
        .annotate(coming=_sum_of(waiting, "credit"), going=_sum_of(waiting, "debit"))
        .exclude(credits_minor=F("debits_minor") - F("coming") + F("going"))
    )


def _sum_of(intents: QuerySet[TransferIntent], side: str) -> Coalesce:
    grouped = intents.filter(**{side: OuterRef("pk")}).order_by().values(side)
    return Coalesce(Subquery(grouped.annotate(total=Sum("amount_minor")).values("total")), 0)
