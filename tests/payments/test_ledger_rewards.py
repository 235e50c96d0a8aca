"""Rewards: recorded as intents, posted in batches, made available later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from payments import chart, ledger, money, posting
from payments.models import Transfer, TransferIntent

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=7)


def test_recording_moves_no_money_yet(held_job, record, balances):
    before = balances()

    record("r1")

    assert balances() == before
    intents = TransferIntent.objects.order_by("key")
    assert [(i.key, i.kind, i.amount_minor, i.due_at) for i in intents] == [
        ("replica:r1:fee", "fee", 10, None),
        ("replica:r1:mature", "mature", 100, LATER),
        ("replica:r1:reward", "reward", 100, None),
    ]


def test_posting_pays_operator_and_platform_from_the_escrow(
    held_job, record, balances, client_id, operator_id
):
    record("r1")

    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 2
    assert balances() == {
        "job:7:escrow": 890,
        "platform:fee": 10,
        "rail:sandbox:PI": -1500,
        f"user:{client_id}:available": 500,
        f"user:{operator_id}:pending": 100,
    }
    reward = Transfer.objects.get(key="replica:r1:reward")
    assert (reward.ref_type, reward.ref_id, reward.created_at) == ("replica", "r1", NOW)


def test_a_replica_recorded_and_posted_twice_is_paid_once(held_job, record, everything):
    record("r1")
    ledger.post_intents(limit=100, now=NOW)
    before = everything()

    record("r1")
    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 0
    # The skipped insert may open no account and change no row.
    assert everything() == before


def test_no_more_than_the_limit_is_posted_oldest_first(held_job, record):
    for number in range(4):
        record(f"r{number}", fee_minor=0)

    posted = ledger.post_intents(limit=3, now=NOW)

    assert posted == 3
    keys = Transfer.objects.filter(kind="reward").order_by("pk").values_list("key", flat=True)
    assert list(keys) == ["replica:r0:reward", "replica:r1:reward", "replica:r2:reward"]
    assert ledger.post_intents(limit=3, now=NOW) == 1


def test_many_batches_are_posted_in_one_call(held_job, record, monkeypatch, balances):
    monkeypatch.setattr(posting, "BATCH_MAX", 3)
    for number in range(4):
        record(f"r{number}")

    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 8
    assert balances()["job:7:escrow"] == 560


def test_the_reserve_pays_without_a_fee_and_may_go_below_zero(
    held_job, record, balances, operator_id
):
    record("r1", funded_by="reserve")

    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 1
    assert balances()["job:7:escrow"] == 1000
    assert balances()["platform:reserve"] == -100
    assert balances()[f"user:{operator_id}:pending"] == 100
    assert "platform:fee" not in balances()


def test_what_the_escrow_cannot_pay_the_reserve_pays(
    held_job, record, balances, operator_id, caplog
):
    record("r1", reward_minor=950, fee_minor=0)
    record("r2", reward_minor=60, fee_minor=0)
    record("r3", reward_minor=50, fee_minor=0)

    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 3
    assert "job:7:escrow" not in balances()
    assert balances()["platform:reserve"] == -60
    assert balances()[f"user:{operator_id}:pending"] == 1060
    assert [(r.message, r.key) for r in caplog.records] == [
        ("escrow short, reserve pays", "replica:r2:reward")
    ]


def test_a_transfer_of_the_same_key_stops_the_intent_from_paying_again(held_job, record, balances):
    record("r1", fee_minor=0)
    ledger.post_intents(limit=100, now=NOW)
    TransferIntent.objects.filter(key="replica:r1:reward").update(posted_at=None)
    before = balances()

    posted = ledger.post_intents(limit=100, now=NOW)

    assert posted == 1
    assert balances() == before
    assert Transfer.objects.filter(key="replica:r1:reward").count() == 1


def test_a_reward_becomes_available_at_its_time_and_once(held_job, record, balances, operator_id):
    record("r1")
    ledger.post_intents(limit=100, now=NOW)

    assert ledger.mature(now=LATER - timedelta(seconds=1), limit=100) == 0
    assert balances()[f"user:{operator_id}:pending"] == 100
    assert ledger.mature(now=LATER, limit=100) == 1
    assert ledger.mature(now=LATER, limit=100) == 0
    assert balances()[f"user:{operator_id}:available"] == 100
    assert f"user:{operator_id}:pending" not in balances()


def test_a_reward_not_posted_yet_waits_to_become_available(
    held_job, record, balances, operator_id, caplog
):
    record("r1", due_at=NOW)

    assert ledger.mature(now=NOW, limit=100) == 0
    assert [record.message for record in caplog.records] == ["intent waits for money"]
    ledger.post_intents(limit=100, now=NOW)
    assert ledger.mature(now=NOW, limit=100) == 1
    assert balances()[f"user:{operator_id}:available"] == 100


def test_an_intent_on_an_escrow_nobody_opened_is_refused(held_job, record, everything):
    before = everything()

    with pytest.raises(chart.UnknownEscrow):
        record("r1", job_id="8")

    assert everything() == before


@pytest.mark.parametrize("amount", [0, -1, money.MAX_AMOUNT_MINOR + 1])
def test_a_reward_of_nothing_or_too_much_is_refused(held_job, record, everything, amount):
    before = everything()

    with pytest.raises(money.InvalidAmount):
        record("r1", reward_minor=amount)

    assert everything() == before


def test_too_many_intents_at_once_are_refused(held_job, operator_id, everything):
    before = everything()
    intents = ledger.reward_intents(
        job_id="7",
        replica_id="r1",
        operator_id=operator_id,
        reward_minor=1,
        fee_minor=0,
        funded_by="escrow",
        due_at=NOW,
    ) * (ledger.INTENTS_MAX // 2 + 1)

    with transaction.atomic(), pytest.raises(ValueError, match="at most 10000"):
        ledger.record_intents(intents, now=NOW)

    assert everything() == before


def test_recording_and_posting_cost_a_fixed_number_of_queries(
    held_job, record, operator_id, django_assert_num_queries
):
    record("r0")
    ledger.post_intents(limit=100, now=NOW)
    with transaction.atomic(), django_assert_num_queries(2):
        ledger.record_intents(
            [
                intent
                for number in range(20)
                for intent in ledger.reward_intents(
                    job_id="7",
                    replica_id=f"q{number}",
                    operator_id=operator_id,
                    reward_minor=1,
                    fee_minor=1,
                    funded_by="escrow",
                    due_at=NOW,
                )
            ],
            now=NOW,
        )

    # Savepoint, read, reserve, lock, read again, insert, balances, mark, release.
    with django_assert_num_queries(9):
        assert ledger.post_intents(limit=100, now=NOW) == 40


def test_a_full_batch_with_as_many_operators_is_posted(held_job, balances):
    users = get_user_model()
    operators = users.objects.bulk_create(
        users(**{users.USERNAME_FIELD: f"o{number}@example.org"}) for number in range(900)
    )
    with transaction.atomic():
        ledger.record_intents(
            [
                intent
                for operator in operators
                for intent in ledger.reward_intents(
                    job_id=held_job,
                    replica_id=f"r{operator.pk}",
                    operator_id=operator.pk,
                    reward_minor=1,
                    fee_minor=0,
                    funded_by="escrow",
                    due_at=NOW,
                )
            ],
            now=NOW,
        )

    assert ledger.post_intents(limit=posting.BATCH_MAX, now=NOW) == 900
    assert balances()["job:7:escrow"] == 100
    assert {balances()[f"user:{operator.pk}:pending"] for operator in operators[::100]} == {1}
