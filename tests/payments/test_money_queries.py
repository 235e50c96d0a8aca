"""Wallets, transfers, statements, escrows and rewards as screens read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from payments import ledger, queries
from payments.models import LedgerAccount, Transfer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=7)


def wallet(available=0, pending=0, frozen=0, held=0, paid=0):
    return queries.Wallet(
        asset="PI",
        available_minor=available,
        pending_minor=pending,
        frozen_minor=frozen,
        held_minor=held,
        paid_minor=paid,
    )


@pytest.fixture
def paid_job(held_job, record):
    """Two replicas of 100 + 10 posted, the first matured, the rest of 780 released."""
    record("r1", due_at=NOW)
    record("r2")
    ledger.post_intents(limit=100, now=NOW)
    ledger.mature(now=NOW, limit=100)
    with transaction.atomic():
        ledger.release_hold(ref_type="job", ref_id=held_job, now=NOW)
    return held_job


def test_who_never_had_money_has_an_empty_wallet(operator_id):
    assert queries.wallet(operator_id) == wallet()


def test_a_wallet_shows_available_and_held(held_job, client_id, django_assert_num_queries):
    with django_assert_num_queries(2):
        found = queries.wallet(client_id)

    assert found == wallet(available=500, held=1000)


def test_a_wallet_shows_pending_and_matured_rewards(paid_job, client_id, operator_id):
    assert queries.wallet(client_id) == wallet(available=1280)
    assert queries.wallet(operator_id) == wallet(available=100, pending=100)


def test_what_passed_through_to_a_rail_is_paid(operator_id):
    LedgerAccount.objects.create(
        code=f"user:{operator_id}:paid",
        kind=LedgerAccount.Kind.USER_PAID,
        owner_id=operator_id,
        has_floor=True,
        debits_minor=70,
        credits_minor=70,
    )

    assert queries.wallet(operator_id) == wallet(paid=70)


def test_a_client_sees_own_transfers_newest_first_with_their_sign(paid_job, client_id):
    seen = [(t.kind, t.signed_minor, t.source, t.destination) for t in queries.transfers(client_id)]

    assert seen == [
        ("release", 780, "escrow", "user_available"),
        ("hold", -1000, "user_available", "escrow"),
        ("deposit", 1500, "rail", "user_available"),
    ]


def test_an_operator_sees_rewards_and_their_maturing(paid_job, operator_id):
    seen = [(t.kind, t.signed_minor, t.ref_id) for t in queries.transfers(operator_id)]

    assert seen == [("mature", 0, "r1"), ("reward", 100, "r2"), ("reward", 100, "r1")]


def test_transfers_are_filtered_by_kind(paid_job, client_id):
    kinds = [Transfer.Kind.HOLD, Transfer.Kind.RELEASE]

    seen = [t.kind for t in queries.transfers(client_id, kinds=kinds)]

    assert seen == ["release", "hold"]


def test_a_page_of_transfers_costs_two_queries(paid_job, client_id, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert len(queries.transfers(client_id)[:2]) == 2


def test_a_stranger_sees_no_transfer(paid_job, make_user):
    assert list(queries.transfers(make_user("stranger"))) == []


def test_the_statements_of_all_years_add_up_to_the_wallet(paid_job, client_id, operator_id):
    ledger.deposit(owner_id=client_id, amount_minor=7, key="n", now=NOW + timedelta(days=40))

    for owner_id in (client_id, operator_id):
        rows = [row for year in (2026, 2027) for row in queries.statement(owner_id, year)]
        found = queries.wallet(owner_id)
        assert sum(row.signed_minor for row in rows) == found.available_minor + found.pending_minor


def test_a_statement_holds_one_year_in_utc_oldest_first(client_id):
    moments = [
        datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    ]
    for number, moment in enumerate(moments):
        ledger.deposit(owner_id=client_id, amount_minor=1, key=str(number), now=moment)

    rows = list(queries.statement(client_id, 2026))

    assert [row.at for row in rows] == moments[1:3]
    assert rows[0] == queries.StatementRow(
        at=moments[1],
        kind="deposit",
        source="rail",
        destination="user_available",
        amount_minor=1,
        signed_minor=1,
        ref_type="",
        ref_id="",
        key=f"user:{client_id}:deposit:1",
    )


def test_an_escrow_tells_held_spent_and_returned(held_job, record):
    record("r1")
    ledger.post_intents(limit=100, now=NOW)
    running = queries.escrow("job", held_job)

    with transaction.atomic():
        ledger.release_hold(ref_type="job", ref_id=held_job, now=NOW)

    assert running == queries.Escrow(held_minor=890, spent_minor=110, returned_minor=0)
    assert queries.escrow("job", held_job) == queries.Escrow(
        held_minor=0, spent_minor=110, returned_minor=890
    )


def test_an_escrow_nobody_opened_is_empty(held_job):
    assert queries.escrow("job", "8") == queries.Escrow(
        held_minor=0, spent_minor=0, returned_minor=0
    )


def test_rewards_tell_amount_state_and_time_of_release(paid_job, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = queries.rewards(["r1", "r2", "r3"])

    assert found == {
        "r1": queries.RewardState(reward_minor=100, state="available", released_at=NOW),
        "r2": queries.RewardState(reward_minor=100, state="pending", released_at=LATER),
    }
