"""Releasing a hold: the escrow pays its debts and gives the rest back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import transaction

from payments import chart, ledger, posting
from payments.models import Transfer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def release(ref_id="7"):
    with transaction.atomic():
        return ledger.release_hold(ref_type="job", ref_id=ref_id, now=NOW)


def test_an_unused_hold_returns_whole(held_job, client_id, balances):
    assert release() == 1000
    assert balances() == {"rail:sandbox:PI": -1500, f"user:{client_id}:available": 1500}


@pytest.mark.parametrize("batch_max", [1, 1000])
def test_what_is_owed_is_paid_before_the_rest_returns(
    held_job, record, client_id, operator_id, balances, monkeypatch, batch_max
):
    monkeypatch.setattr(posting, "BATCH_MAX", batch_max)
    record("r1")
    record("r2")

    returned = release()

    assert returned == 780
    assert balances() == {
        "platform:fee": 20,
        "rail:sandbox:PI": -1500,
        f"user:{client_id}:available": 1280,
        f"user:{operator_id}:pending": 200,
    }
    assert ledger.post_intents(limit=100, now=NOW) == 0


def test_a_second_release_answers_the_same_and_changes_nothing(held_job, record, everything):
    record("r1")
    first = release()
    before = everything()

    second = release()

    assert (first, second) == (890, 890)
    assert everything() == before


def test_an_escrow_spent_to_the_last_unit_returns_nothing(held_job, record):
    record("r1", reward_minor=900, fee_minor=100)

    assert release() == 0
    assert release() == 0
    assert Transfer.objects.filter(kind="release").count() == 0


def test_work_accepted_after_the_release_is_paid_by_the_reserve(
    held_job, record, balances, client_id, operator_id
):
    release()
    record("late", fee_minor=0)

    ledger.post_intents(limit=100, now=NOW)

    assert balances() == {
        "platform:reserve": -100,
        "rail:sandbox:PI": -1500,
        f"user:{client_id}:available": 1500,
        f"user:{operator_id}:pending": 100,
    }


def test_releasing_what_was_never_held_is_a_mistake(held_job, everything):
    before = everything()

    with pytest.raises(chart.UnknownEscrow):
        release("8")

    assert everything() == before
