"""Staff look at the ledger here; nobody changes it here."""

from __future__ import annotations

from django.contrib import admin

from payments import money
from payments.models import LedgerAccount, Transfer, TransferIntent


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no [...] at run time
    """Lists and shows rows; nobody may add, change or delete one, whatever the arguments."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: object) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: object, obj: object = None) -> bool:  # noqa: ARG002
        return False


@admin.register(LedgerAccount)
class LedgerAccountAdmin(ReadOnlyAdmin):
    """Accounts by code."""

    list_display = ("code", "kind", "owner", "balance", "asset")
    list_filter = ("kind",)
    list_select_related = ("owner",)
    search_fields = ("code",)
    ordering = ("pk",)

    @admin.display(description="balance")
    def balance(self, account: LedgerAccount) -> str:
        """Show the balance with its decimals."""
        return money.format_amount(account.balance_minor)


class MovementAdmin(ReadOnlyAdmin):
    """What transfers and intents have in common."""

    list_filter = ("kind",)
    list_select_related = ("debit", "credit")
    search_fields = ("key", "ref_id")
    ordering = ("-pk",)

    @admin.display(description="amount")
    def amount(self, movement: Transfer | TransferIntent) -> str:
        """Show the amount with its decimals."""
        return money.format_amount(movement.amount_minor)


@admin.register(Transfer)
class TransferAdmin(MovementAdmin):
    """Transfers, newest first."""

    list_display = ("key", "kind", "debit", "credit", "amount", "created_at")


@admin.register(TransferIntent)
class TransferIntentAdmin(MovementAdmin):
    """Intents, newest first; those without `posted_at` wait."""

    list_display = ("key", "kind", "debit", "credit", "amount", "due_at", "posted_at")
