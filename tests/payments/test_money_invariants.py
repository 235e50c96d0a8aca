"""The audit finds each kind of damage, and none in a sound ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from payments import invariants, ledger
from payments.models import LedgerAccount, TransferIntent

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def failed(now=NOW):
    return {check.name: check.detail for check in invariants.audit(now=now) if not check.ok}


def test_an_empty_ledger_is_sound(db):
    assert failed() == {}


def test_a_busy_ledger_is_sound_and_says_how_much_it_holds(held_job, record):
    record("r1")
    ledger.post_intents(limit=100, now=NOW)

    checks = invariants.audit(now=NOW)

    assert [(check.name, check.ok, check.detail) for check in checks] == [
        ("debits_equal_credits", True, "debits 0.0002610, credits 0.0002610 PI"),
        ("balances_match_transfers", True, "none"),
        ("floors_hold", True, "none"),
        ("intents_are_posted", True, "none"),
        ("posted_intents_have_transfers", True, "none"),
        ("stopped_rewards_stay", True, "none"),
        ("pending_equals_rewards", True, "none"),
    ]


def test_money_from_nowhere_is_found(held_job):
    LedgerAccount.objects.filter(code="job:7:escrow").update(credits_minor=F("credits_minor") + 1)

    assert failed() == {
        "debits_equal_credits": "debits 0.0002500, credits 0.0002501 PI",
        "balances_match_transfers": "job:7:escrow",
    }


@pytest.mark.parametrize("column", ["debits_minor", "credits_minor"])
def test_a_balance_that_moved_without_a_transfer_is_found(held_job, column):
    LedgerAccount.objects.filter(has_floor=False).update(**{column: F(column) + 1})

    assert failed()["balances_match_transfers"] == "rail:sandbox:PI"


def test_an_intent_that_waits_too_long_is_found(held_job, record):
    record("r1")

    assert failed(NOW + timedelta(minutes=10)) == {}
    assert failed(NOW + timedelta(minutes=10, seconds=1)) == {
        "intents_are_posted": "replica:r1:fee, replica:r1:reward"
    }


def test_a_reward_that_should_be_available_is_found(held_job, record):
    record("r1", due_at=NOW + timedelta(days=7))
    ledger.post_intents(limit=100, now=NOW)

    assert failed(NOW + timedelta(days=7, minutes=10)) == {}
    assert failed(NOW + timedelta(days=7, minutes=11)) == {
        "intents_are_posted": "replica:r1:mature"
    }


def test_an_intent_marked_posted_without_its_transfer_is_found(held_job, record):
    record("r1")
    TransferIntent.objects.filter(kind="fee").update(posted_at=NOW)

    assert failed() == {"posted_intents_have_transfers": "replica:r1:fee"}


def test_an_intent_whose_transfer_has_another_amount_is_found(held_job, record):
    record("r1")
    ledger.post_intents(limit=100, now=NOW)
    TransferIntent.objects.filter(kind="fee").update(amount_minor=11)

    assert failed() == {"posted_intents_have_transfers": "replica:r1:fee"}


def test_only_the_first_few_offenders_are_named(held_job, record):
    for number in range(6):
        record(f"r{number}", fee_minor=0)
    TransferIntent.objects.filter(kind="reward").update(posted_at=NOW)

    assert failed()["posted_intents_have_transfers"] == (
        "replica:r0:reward, replica:r1:reward, replica:r2:reward,"
        " replica:r3:reward, replica:r4:reward, ..."
    )
