"""The chart of accounts: which accounts there are, how they are named, which have a floor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from payments import money
from payments.models import LedgerAccount

#: The rail of play money that needs no network.
SANDBOX_RAIL = "sandbox"


class UnknownEscrow(LookupError):
    """Nothing was ever held for this."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """How an account is named and opened; equal descriptions mean the same account."""

    code: str
    kind: LedgerAccount.Kind
    owner_id: int | None = None
    has_floor: bool = True


def available(owner_id: int) -> Account:
    """Money a user may spend or have paid out."""
    return Account(
        code=f"user:{owner_id}:available",
        kind=LedgerAccount.Kind.USER_AVAILABLE,
        owner_id=owner_id,
    )


def pending(owner_id: int) -> Account:
    """Rewards of a user that are not available yet."""
    return Account(
        code=f"user:{owner_id}:pending", kind=LedgerAccount.Kind.USER_PENDING, owner_id=owner_id
    )


def escrow(ref_type: str, ref_id: str, *, owner_id: int | None = None) -> Account:
    """Money held for one thing; only the hold that opens it must name the owner."""
    return Account(
        code=f"{ref_type}:{ref_id}:escrow", kind=LedgerAccount.Kind.ESCROW, owner_id=owner_id
    )


def fee() -> Account:
    """The platform's earnings."""
    return Account(code="platform:fee", kind=LedgerAccount.Kind.PLATFORM_FEE)


def reserve() -> Account:
    """The platform's own pocket.

    No floor: accepted work is paid even before the platform has topped the reserve up;
    below zero it is what the platform owes.
    """
    return Account(
        code="platform:reserve", kind=LedgerAccount.Kind.PLATFORM_RESERVE, has_floor=False
    )


def rail(name: str) -> Account:
    """The outside world behind one rail; below zero by what came in over it."""
    return Account(code=f"rail:{name}:{money.ASSET}", kind=LedgerAccount.Kind.RAIL, has_floor=False)


def open_accounts(accounts: Collection[Account]) -> dict[str, int]:
    """Return the primary key of each account by code, opening those that are missing.

    One query when all exist. New ones are inserted in the order of their codes, so that
    two callers opening the same accounts do not deadlock.

    Raises:
        UnknownEscrow: an escrow that no hold has opened.
    """
    found = _find(accounts)
    missing = {account.code: account for account in accounts if account.code not in found}
    if not missing:
        return found
    for account in missing.values():
        if account.kind == LedgerAccount.Kind.ESCROW and account.owner_id is None:
            raise UnknownEscrow(account.code)
    LedgerAccount.objects.bulk_create(
        [
            LedgerAccount(
                code=code,
                kind=account.kind,
                owner_id=account.owner_id,
                has_floor=account.has_floor,
            )
            for code, account in sorted(missing.items())
        ],
        ignore_conflicts=True,
    )
    return _find(accounts)


def _find(accounts: Collection[Account]) -> dict[str, int]:
    codes = {account.code for account in accounts}
    return dict(LedgerAccount.objects.filter(code__in=codes).values_list("code", "pk"))
