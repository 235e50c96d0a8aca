"""Deposits: money in over the sandbox rail."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from payments import ledger, money
from payments.models import Transfer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_a_deposit_moves_money_from_the_rail_to_the_owner(client_id, balances):
    transfer = ledger.deposit(owner_id=client_id, amount_minor=500, key="a", now=NOW)

    assert balances() == {"rail:sandbox:PI": -500, f"user:{client_id}:available": 500}
    assert (transfer.kind, transfer.amount_minor, transfer.created_at) == ("deposit", 500, NOW)
    assert transfer.key == f"user:{client_id}:deposit:a"


def test_the_same_deposit_twice_happens_once(client_id, everything):
    first = ledger.deposit(owner_id=client_id, amount_minor=500, key="a", now=NOW)
    before = everything()

    second = ledger.deposit(owner_id=client_id, amount_minor=500, key="a", now=NOW)

    assert second == first
    assert everything() == before


def test_a_key_used_for_another_amount_is_refused(client_id, everything):
    ledger.deposit(owner_id=client_id, amount_minor=500, key="a", now=NOW)
    before = everything()

    with pytest.raises(ledger.KeyReused):
        ledger.deposit(owner_id=client_id, amount_minor=501, key="a", now=NOW)

    assert everything() == before


def test_two_owners_may_use_the_same_key(client_id, operator_id, balances):
    ledger.deposit(owner_id=client_id, amount_minor=500, key="a", now=NOW)
    ledger.deposit(owner_id=operator_id, amount_minor=700, key="a", now=NOW)

    assert balances() == {
        "rail:sandbox:PI": -1200,
        f"user:{client_id}:available": 500,
        f"user:{operator_id}:available": 700,
    }


@pytest.mark.parametrize("amount", [0, -1, money.MAX_AMOUNT_MINOR + 1])
def test_an_impossible_amount_is_refused(client_id, everything, amount):
    before = everything()

    with pytest.raises(money.InvalidAmount):
        ledger.deposit(owner_id=client_id, amount_minor=amount, key="a", now=NOW)

    assert everything() == before


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_that_is_empty_or_too_long_is_refused(client_id, key):
    with pytest.raises(ValueError, match="1 to 200 characters"):
        ledger.deposit(owner_id=client_id, amount_minor=1, key=key, now=NOW)

    assert Transfer.objects.count() == 0
