"""The ledger's tables: accounts, transfers, and intents that wait to become transfers."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments import money

CODE_LENGTH_MAX = 255


class LedgerAccount(models.Model):
    """A place where money is: its balance is `credits_minor - debits_minor`.

    Invariants:
        ledger_account_floor: an account with a floor never goes below zero.
        Both totals equal the sums of the account's transfers (`invariants.audit`).
    """

    class Kind(models.TextChoices):
        USER_AVAILABLE = "user_available"  # may be spent or paid out
        USER_PENDING = "user_pending"  # earned, but still in its hold window
        USER_PAID = "user_paid"  # passed through on the way to a rail; its debits were paid out
        ESCROW = "escrow"  # set aside by its owner for one job
        PLATFORM_FEE = "platform_fee"  # earned by the platform
        PLATFORM_RESERVE = "platform_reserve"  # pays what is the platform's own risk
        RAIL = "rail"  # the outside world; below zero by what came in

    code = models.CharField(max_length=CODE_LENGTH_MAX, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    asset = models.CharField(max_length=10, default=money.ASSET)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="ledger_accounts",
    )
    has_floor = models.BooleanField()
    debits_minor = models.BigIntegerField(default=0)
    credits_minor = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(has_floor=False) | Q(credits_minor__gte=F("debits_minor")),
                name="ledger_account_floor",
                violation_error_message="The account does not hold that much.",
            ),
            models.CheckConstraint(
                condition=Q(debits_minor__gte=0, credits_minor__gte=0),
                name="ledger_account_totals_not_negative",
            ),
        ]
        # A wallet reads its owner's accounts; escrows by kind.
        indexes = [models.Index(fields=["owner", "kind"], name="ledger_account_of_owner")]

    def __str__(self) -> str:
        return self.code

    @property
    def balance_minor(self) -> int:
        """What the account holds."""
        return self.credits_minor - self.debits_minor


class Movement(models.Model):
    """Columns shared by a transfer and the intent it comes from."""

    class Kind(models.TextChoices):
        """Why money moved."""

        DEPOSIT = "deposit"  # rail -> a user's available
        HOLD = "hold"  # a client's available -> the escrow of a job
        REWARD = "reward"  # escrow (or reserve) -> an operator's pending
        FEE = "fee"  # escrow (or reserve) -> the platform
        RELEASE = "release"  # rest of an escrow -> its owner's available
        MATURE = "mature"  # an operator's pending -> available
        VOID = "void"  # an operator's pending -> the reserve: the work was wrong

    #: Unique: the same movement told twice happens once.
    key = models.CharField(max_length=CODE_LENGTH_MAX, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    debit = models.ForeignKey(
        LedgerAccount, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    credit = models.ForeignKey(
        LedgerAccount, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    amount_minor = models.BigIntegerField()
    #: What the money is for: `job`, `replica`, or empty; a name and an id, never a foreign key.
    ref_type = models.CharField(max_length=20, blank=True, default="")
    ref_id = models.CharField(max_length=100, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key


class Transfer(Movement):
    """Money that moved from the debit account to the credit account.

    Append-only: a trigger refuses updates and deletes on both databases.
    A correction is a new transfer.

    Invariants:
        transfer_amount_positive, transfer_between_two_accounts.
    """

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_minor__gt=0), name="transfer_amount_positive"
            ),
            models.CheckConstraint(
                condition=~Q(debit=F("credit")), name="transfer_between_two_accounts"
            ),
        ]
        # A user's transfers, newest first, are read from both ends.
        indexes = [
            models.Index(fields=["debit", "id"], name="transfer_by_debit"),
            models.Index(fields=["credit", "id"], name="transfer_by_credit"),
        ]


class TransferIntent(Movement):
    """A transfer decided but not yet posted: inserted with the facts that caused it.

    Recording an intent locks no account, so a busy escrow never slows the verdicts paid
    from it; the poster turns intents into transfers in batches. An intent with `due_at`
    is posted once that time has passed.

    Invariants:
        intent_amount_positive, intent_between_two_accounts.
        intent_stopped_not_posted: what is frozen or voided never moved.
        Every posted intent has a transfer of the same key (`invariants.audit`).
    """

    #: Whose work it pays, beyond whose account it is: a node's id. For sums, never for posting.
    earned_by = models.CharField(max_length=40, blank=True, default="")
    due_at = models.DateTimeField(null=True, blank=True)
    posted_at = models.DateTimeField(null=True, blank=True)
    #: Set while what it pays for is looked at again; it is not posted until it is null again.
    frozen_at = models.DateTimeField(null=True, blank=True)
    #: Set while it is not to be posted at all: what it pays for turned out to be wrong.
    voided_at = models.DateTimeField(null=True, blank=True)
    #: How often it was voided; numbers the keys of those movements (`rewards.void`).
    voids = models.PositiveSmallIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="intent_amount_positive"),
            models.CheckConstraint(
                condition=~Q(debit=F("credit")), name="intent_between_two_accounts"
            ),
            models.CheckConstraint(
                condition=Q(posted_at__isnull=True)
                | Q(frozen_at__isnull=True, voided_at__isnull=True),
                name="intent_stopped_not_posted",
            ),
        ]
        # Each holds only what waits, so its size does not grow with history.
        indexes = [
            # ledger.post_intents
            models.Index(
                fields=["id"],
                condition=Q(posted_at__isnull=True, due_at__isnull=True),
                name="intent_ready",
            ),
            # ledger.mature
            models.Index(
                fields=["due_at", "id"],
                condition=Q(
                    posted_at__isnull=True,
                    due_at__isnull=False,
                    frozen_at__isnull=True,
                    voided_at__isnull=True,
                ),
                name="intent_due",
            ),
            # ledger.release_hold
            models.Index(
                fields=["debit"],
                condition=Q(posted_at__isnull=True, voided_at__isnull=True),
                name="intent_of_escrow",
            ),
            # queries.wallet
            models.Index(
                fields=["debit"],
                include=["amount_minor"],
                condition=Q(frozen_at__isnull=False),
                name="intent_frozen",
            ),
            # queries.earnings: holds its amounts, so the table itself is not read
            models.Index(
                fields=["earned_by"],
                include=["posted_at", "frozen_at", "voided_at", "amount_minor"],
                condition=Q(kind="mature"),
                name="intent_by_earner",
            ),
        ]
