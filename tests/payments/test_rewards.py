"""Rewards on their way: frozen while in question, voided when the work was wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from payments import invariants, ledger, queries, rewards
from payments.models import Transfer, TransferIntent

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=7)


def post_all(now=NOW):
    return ledger.post_intents(limit=100, now=now)


def failed(now=NOW):
    return {check.name: check.detail for check in invariants.audit(now=now) if not check.ok}


@pytest.fixture
def pending(held_job, record):
    """The reward of replica 1, posted and pending for seven days."""
    record("1")
    post_all()


@pytest.fixture
def within():
    """Return a function that calls inside a transaction of its own."""

    def call(function, **arguments):
        with transaction.atomic():
            return function(**arguments)

    return call


@pytest.fixture
def stop(within):
    def freeze(*names):
        return within(rewards.freeze, replica_ids=names, now=NOW)

    return freeze


def test_a_frozen_reward_does_not_mature_until_it_is_freed(
    pending, stop, within, balances, operator_id
):
    assert stop("1") == 1

    assert ledger.mature(now=LATER, limit=100) == 0
    assert within(rewards.unfreeze, replica_ids=["1"]) == 1
    assert ledger.mature(now=LATER, limit=100) == 1
    assert balances()[f"user:{operator_id}:available"] == 100
    assert failed(LATER) == {}


def test_freezing_twice_keeps_the_first_date(pending, stop, within, everything):
    stop("1")
    before = everything()

    again = within(rewards.freeze, replica_ids=["1"], now=LATER)

    assert again == 0
    assert everything() == before


def test_what_is_available_already_is_not_frozen(pending, stop, everything):
    ledger.mature(now=LATER, limit=100)
    before = everything()

    assert stop("1", "unknown") == 0
    assert everything() == before


def test_the_database_refuses_to_post_what_is_frozen(pending, stop):
    stop("1")

    with pytest.raises(IntegrityError, match="intent_stopped_not_posted"), transaction.atomic():
        TransferIntent.objects.filter(kind="mature").update(posted_at=NOW)


def test_a_voided_reward_goes_back_to_the_reserve_and_never_matures(
    pending, within, balances, operator_id
):
    outcome = within(rewards.void, replica_ids=["1"], now=NOW)
    post_all()

    assert outcome == {"1": "voided"}
    assert ledger.mature(now=LATER, limit=100) == 0
    assert balances()["platform:reserve"] == 100
    assert f"user:{operator_id}:pending" not in balances()
    assert f"user:{operator_id}:available" not in balances()
    assert failed(LATER) == {}


def test_a_reward_is_voided_before_it_is_posted(held_job, record, within, balances, operator_id):
    record("1")

    outcome = within(rewards.void, replica_ids=["1"], now=NOW)
    post_all()

    assert outcome == {"1": "voided"}
    assert balances()["platform:reserve"] == 100
    assert f"user:{operator_id}:pending" not in balances()


def test_voiding_twice_takes_it_back_once(pending, within, everything):
    within(rewards.void, replica_ids=["1"], now=NOW)
    before = everything()

    outcome = within(rewards.void, replica_ids=["1"], now=LATER)

    assert outcome == {"1": "voided"}
    assert everything() == before


def test_voiding_what_is_available_already_says_so_and_changes_nothing(pending, within, everything):
    ledger.mature(now=LATER, limit=100)
    before = everything()

    outcome = within(rewards.void, replica_ids=["1", "unknown"], now=LATER)

    assert outcome == {"1": "matured"}
    assert everything() == before


def test_a_frozen_reward_can_be_voided_and_is_frozen_no_longer(pending, stop, within, operator_id):
    stop("1")

    within(rewards.void, replica_ids=["1"], now=NOW)

    assert within(rewards.unfreeze, replica_ids=["1"]) == 0
    assert queries.wallet(operator_id).frozen_minor == 0
    assert ledger.mature(now=LATER, limit=100) == 0


def test_a_voided_reward_is_paid_again_from_the_reserve(pending, within, balances, operator_id):
    within(rewards.void, replica_ids=["1"], now=NOW)

    paid = within(rewards.pay_again, replica_ids=["1", "2"], due_at=LATER, now=NOW)
    post_all()

    assert paid == ["1"]
    assert within(rewards.pay_again, replica_ids=["1"], due_at=LATER, now=NOW) == []
    assert "platform:reserve" not in balances()
    assert balances()[f"user:{operator_id}:pending"] == 100
    assert ledger.mature(now=LATER, limit=100) == 1


def test_each_voiding_and_its_end_has_its_own_key(pending, within):
    for _ in range(2):
        within(rewards.void, replica_ids=["1"], now=NOW)
        within(rewards.pay_again, replica_ids=["1"], due_at=LATER, now=NOW)
    post_all()

    keys = Transfer.objects.filter(ref_id="1").order_by("pk").values_list("key", flat=True)
    assert list(keys) == [
        "replica:1:fee",
        "replica:1:reward",
        "replica:1:void",
        "replica:1:reward:1",
        "replica:1:void:1",
        "replica:1:reward:2",
    ]


def test_a_reward_is_postponed_and_brought_forward(pending, within):
    assert within(rewards.postpone, replica_ids=["1"], due_at=LATER + timedelta(days=1)) == 1
    assert ledger.mature(now=LATER, limit=100) == 0
    assert within(rewards.postpone, replica_ids=["1"], due_at=NOW) == 1
    assert within(rewards.postpone, replica_ids=["1"], due_at=NOW) == 0
    assert ledger.mature(now=NOW, limit=100) == 1
    assert within(rewards.postpone, replica_ids=["1"], due_at=LATER) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: rewards.freeze(replica_ids=["1"], now=NOW),
        lambda: rewards.void(replica_ids=["1"], now=NOW),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_stopping_needs_the_callers_transaction(call):
    with pytest.raises(AssertionError):
        call()


def test_wallet_earnings_and_rewards_tell_what_is_frozen_and_voided(
    held_job, record, stop, within, operator_id
):
    for name in ("1", "2", "3", "4"):
        record(name, earned_by="node-a", due_at=NOW if name == "4" else LATER)
    post_all()
    ledger.mature(now=NOW, limit=100)
    stop("2")
    within(rewards.void, replica_ids=["3"], now=NOW)
    post_all()

    wallet = queries.wallet(operator_id)
    assert (wallet.available_minor, wallet.pending_minor, wallet.frozen_minor) == (100, 200, 100)
    assert queries.earnings(["node-a"]) == {
        "node-a": queries.Earnings(pending_minor=200, frozen_minor=100, available_minor=100)
    }
    assert {
        name: (found.state, found.released_at)
        for name, found in queries.rewards(["1", "2", "3", "4"]).items()
    } == {
        "1": ("pending", LATER),
        "2": ("frozen", LATER),
        "3": ("voided", None),
        "4": ("available", NOW),
    }


def test_a_voided_reward_that_became_available_all_the_same_is_found(pending):
    ledger.mature(now=LATER, limit=100)
    TransferIntent.objects.filter(kind="mature").update(posted_at=None, voided_at=NOW)

    assert failed(LATER) == {"stopped_rewards_stay": "replica:1:mature"}


def test_a_reward_lost_between_pending_and_available_is_found(pending, operator_id):
    TransferIntent.objects.filter(kind="mature").delete()

    assert failed() == {"pending_equals_rewards": f"user:{operator_id}:pending"}


def test_stopping_costs_two_queries_for_any_number(
    held_job, record, within, django_assert_num_queries
):
    for number in range(5):
        record(str(number))

    with transaction.atomic(), django_assert_num_queries(2):
        rewards.freeze(replica_ids=[str(number) for number in range(5)], now=NOW)
