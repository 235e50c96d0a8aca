"""Amounts of money as integers: one asset, seven decimals, no float and no Decimal."""

from __future__ import annotations

import re
from collections.abc import Sequence

ASSET = "PI"

#: Of the asset, on every rail we know.
DECIMALS = 7

#: One PI in minor units. Pi and Stellar count in 10^-7, so nothing is ever rounded on a rail.
MINOR_PER_UNIT = 10_000_000

#: The largest single amount, a billion PI. The balance columns (signed 64 bit) hold 922 of them.
MAX_AMOUNT_MINOR = 10**9 * MINOR_PER_UNIT

# `[0-9]`, not `\d`, which also matches digits of other scripts.
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,7}))?")


class InvalidAmount(ValueError):
    """The text or number is not an amount of money we accept."""


def format_amount(minor: int) -> str:
    """Write minor units with all seven decimals: `123400000` is `"12.3400000"`."""
    sign = "-" if minor < 0 else ""
    units, rest = divmod(abs(minor), MINOR_PER_UNIT)
    return f"{sign}{units}.{rest:0{DECIMALS}d}"


def parse_amount(text: str) -> int:
    """Read an unsigned decimal such as `"12.34"` into minor units; zero is an amount.

    Raises:
        InvalidAmount: a sign, an exponent, a space, a leading zero, more than seven
            decimals, or more than `MAX_AMOUNT_MINOR`.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise InvalidAmount("an amount is digits with at most seven decimals, like 12.34")
    units, decimals = match[1], match[2] or ""
    minor = int(units) * MINOR_PER_UNIT + int(decimals.ljust(DECIMALS, "0"))
    if minor > MAX_AMOUNT_MINOR:
        raise InvalidAmount(f"an amount is at most {format_amount(MAX_AMOUNT_MINOR)}")
    return minor


def require_positive(amount_minor: int) -> int:
    """Return the amount if it may be moved: at least one minor unit, at most the maximum.

    Raises:
        InvalidAmount: outside that range.
    """
    if not 0 < amount_minor <= MAX_AMOUNT_MINOR:
        raise InvalidAmount(f"cannot move {format_amount(amount_minor)}")
    return amount_minor


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Share `amount` in proportion to `weights`; the parts always sum to the whole.

    Largest remainder (Hamilton's method): each part is the exact share rounded down or up,
    and the minor units left over go to the largest remainders, earlier parts first.

    Raises:
        ValueError: a negative amount or weight, or weights that sum to zero.
    """
    total = sum(weights)
    if amount < 0 or total <= 0 or min(weights) < 0:
        raise ValueError("splitting needs an amount >= 0 and weights >= 0 with a positive sum")
    parts = [amount * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for index in by_remainder[: amount - sum(parts)]:
        parts[index] += 1
    return parts
