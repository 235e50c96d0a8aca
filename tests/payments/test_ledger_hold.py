"""Holds: a client's money set aside before a job runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from payments import ledger, money
from payments.models import LedgerAccount

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def hold(owner_id, amount_minor, ref_id="7"):
    with transaction.atomic():
        return ledger.hold(
            owner_id=owner_id, ref_type="job", ref_id=ref_id, amount_minor=amount_minor, now=NOW
        )


@pytest.fixture
def rich_id(client_id):
    ledger.deposit(owner_id=client_id, amount_minor=1000, key="first", now=NOW)
    return client_id


def test_a_hold_moves_available_money_to_the_escrow_of_the_job(rich_id, balances):
    transfer = hold(rich_id, 600)

    assert balances() == {
        "job:7:escrow": 600,
        "rail:sandbox:PI": -1000,
        f"user:{rich_id}:available": 400,
    }
    assert LedgerAccount.objects.get(code="job:7:escrow").owner_id == rich_id
    assert (transfer.key, transfer.ref_type, transfer.ref_id) == ("job:7:hold", "job", "7")


def test_all_that_is_available_can_be_held(rich_id, balances):
    hold(rich_id, 1000)

    assert balances() == {"job:7:escrow": 1000, "rail:sandbox:PI": -1000}


def test_one_minor_unit_too_much_is_refused(rich_id, everything):
    before = everything()

    with transaction.atomic(), pytest.raises(ledger.InsufficientFunds):
        ledger.hold(owner_id=rich_id, ref_type="job", ref_id="7", amount_minor=1001, now=NOW)

    assert everything() == before


def test_who_never_had_money_cannot_hold_any(operator_id, everything):
    before = everything()

    with transaction.atomic(), pytest.raises(ledger.InsufficientFunds):
        ledger.hold(owner_id=operator_id, ref_type="job", ref_id="7", amount_minor=1, now=NOW)

    assert everything() == before


def test_the_same_hold_twice_happens_once_even_when_the_money_is_gone(rich_id, everything):
    first = hold(rich_id, 1000)
    before = everything()

    second = hold(rich_id, 1000)

    assert second == first
    assert everything() == before


@pytest.mark.parametrize("amount", [599, 1001])
def test_another_amount_for_the_same_job_is_refused(rich_id, everything, amount):
    hold(rich_id, 600)
    before = everything()

    with pytest.raises(ledger.KeyReused):
        hold(rich_id, amount)

    assert everything() == before


def test_another_owner_for_the_same_job_is_refused(rich_id, operator_id, everything):
    ledger.deposit(owner_id=operator_id, amount_minor=1000, key="first", now=NOW)
    hold(rich_id, 600)
    before = everything()

    with pytest.raises(ledger.KeyReused):
        hold(operator_id, 600)

    assert everything() == before


@pytest.mark.parametrize("amount", [0, -1, money.MAX_AMOUNT_MINOR + 1])
def test_an_impossible_amount_cannot_be_held(rich_id, everything, amount):
    before = everything()

    with pytest.raises(money.InvalidAmount):
        hold(rich_id, amount)

    assert everything() == before


def test_the_database_refuses_what_the_code_would_let_through(rich_id, everything):
    before = everything()

    with pytest.raises(IntegrityError, match="ledger_account_floor"), transaction.atomic():
        LedgerAccount.objects.filter(owner_id=rich_id).update(debits_minor=1001)

    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_a_hold_outside_a_transaction_is_a_mistake(transactional_db, rich_id, balances):
    with pytest.raises(AssertionError):
        ledger.hold(owner_id=rich_id, ref_type="job", ref_id="7", amount_minor=1, now=NOW)

    assert balances() == {"rail:sandbox:PI": -1000, f"user:{rich_id}:available": 1000}
