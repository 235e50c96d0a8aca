"""Many connections at once: nothing is spent twice, posted twice or made to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection, transaction

from payments import invariants, ledger, posting, rewards
from payments.models import LedgerAccount, Transfer, TransferIntent

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
THREADS = 8

pytestmark = [
    pytest.mark.django_db(transaction=True),
]


def hold(owner_id, job_id, amount_minor):
    with transaction.atomic():
        return ledger.hold(
            owner_id=owner_id, ref_type="job", ref_id=job_id, amount_minor=amount_minor, now=NOW
        )


def reward_many(job_id, operator_ids, prefix, count):
    """Record `count` rewards of 3 and fees of 1 in one transaction."""
    intents = [
        intent
        for number in range(count)
        for intent in ledger.reward_intents(
            job_id=job_id,
            replica_id=f"{prefix}{number}",
            operator_id=operator_ids[number % len(operator_ids)],
            reward_minor=3,
            fee_minor=1,
            funded_by="escrow",
            due_at=NOW + timedelta(days=7),
        )
    ]
    with transaction.atomic():
        ledger.record_intents(intents, now=NOW)


def assert_sound():
    assert [check for check in invariants.audit(now=NOW) if not check.ok] == []


def test_holds_at_once_never_spend_more_than_there_is(client_id, side_by_side, balances):
    ledger.deposit(owner_id=client_id, amount_minor=100, key="a", now=NOW)

    answers = side_by_side(*[partial(hold, client_id, str(n), 30) for n in range(THREADS)])

    refused = [answer for answer in answers if isinstance(answer, ledger.InsufficientFunds)]
    assert (len(answers), len(refused)) == (8, 5)
    assert balances()[f"user:{client_id}:available"] == 10
    assert Transfer.objects.filter(kind="hold").count() == 3
    assert LedgerAccount.objects.filter(kind="escrow").count() == 3
    assert_sound()


def test_the_same_hold_at_once_happens_once(client_id, side_by_side, balances):
    ledger.deposit(owner_id=client_id, amount_minor=100, key="a", now=NOW)

    answers = side_by_side(*[partial(hold, client_id, "7", 30)] * THREADS)

    assert {answer.key for answer in answers} == {"job:7:hold"}
    assert balances()[f"user:{client_id}:available"] == 70
    assert Transfer.objects.filter(kind="hold").count() == 1
    assert_sound()


def test_the_same_deposit_at_once_happens_once(client_id, side_by_side, balances):
    deposit = partial(ledger.deposit, owner_id=client_id, amount_minor=5, key="a", now=NOW)

    answers = side_by_side(*[deposit] * THREADS)

    assert len({answer.pk for answer in answers}) == 1
    assert balances() == {"rail:sandbox:PI": -5, f"user:{client_id}:available": 5}
    assert_sound()


def test_posters_side_by_side_never_post_twice(
    client_id, operator_id, make_user, side_by_side, balances, monkeypatch
):
    monkeypatch.setattr(posting, "BATCH_MAX", 50)
    ledger.deposit(owner_id=client_id, amount_minor=2000, key="a", now=NOW)
    hold(client_id, "7", 2000)
    operators = [operator_id, *(make_user(f"operator{n}") for n in range(6))]
    reward_many("7", operators, "r", 200)

    answers = side_by_side(*[partial(ledger.post_intents, limit=400, now=NOW)] * 4)

    assert sum(answers) + ledger.post_intents(limit=400, now=NOW) == 400
    assert Transfer.objects.filter(kind__in=["reward", "fee"]).count() == 400
    assert balances()["job:7:escrow"] == 1200
    assert balances()["platform:fee"] == 200
    assert_sound()


def test_maturing_side_by_side_pays_once(held_job, record, operator_id, side_by_side, balances):
    for number in range(5):
        record(f"r{number}", due_at=NOW)
    ledger.post_intents(limit=100, now=NOW)

    answers = side_by_side(*[partial(ledger.mature, limit=100, now=NOW)] * 4)

    assert sum(answers) == 5
    assert balances()[f"user:{operator_id}:available"] == 500
    assert_sound()


def test_recording_posting_holding_and_releasing_at_once_lose_nothing(
    client_id, operator_id, make_user, side_by_side, balances
):
    ledger.deposit(owner_id=client_id, amount_minor=10_000, key="a", now=NOW)
    for job_id in ("1", "2"):
        hold(client_id, job_id, 1000)
        reward_many(job_id, [operator_id, make_user(f"o{job_id}")], f"{job_id}-", 50)

    def release(job_id):
        with transaction.atomic():
            return ledger.release_hold(ref_type="job", ref_id=job_id, now=NOW)

    post = partial(ledger.post_intents, limit=1000, now=NOW)
    answers = side_by_side(
        partial(release, "1"),
        partial(release, "2"),
        partial(release, "1"),
        post,
        post,
        partial(hold, client_id, "3", 100),
        partial(reward_many, "2", [operator_id], "1-", 50),
    )
    post()

    assert answers[:3] == [800, 800, 800]
    assert TransferIntent.objects.filter(posted_at__isnull=True, due_at__isnull=True).count() == 0
    assert balances()["platform:fee"] == 100
    assert balances()[f"user:{client_id}:available"] == 10_000 - 400 - 100
    assert "platform:reserve" not in balances()
    assert_sound()


@pytest.mark.postgres
def test_recording_does_not_wait_for_a_poster(held_job, record, side_by_side):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    record("r0")
    accounts = LedgerAccount.objects.values_list("pk", flat=True)

    def record_soon():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        record("r1")

    with transaction.atomic():
        posting.lock_accounts(list(accounts))
        answers = side_by_side(record_soon)

    assert answers == [None]
    assert TransferIntent.objects.filter(ref_id="r1").count() == 3


def test_what_is_frozen_while_it_matures_is_either_available_or_frozen(
    held_job, record, side_by_side
):
    names = [f"r{number}" for number in range(40)]
    for name in names:
        record(name, reward_minor=1, fee_minor=0, due_at=NOW)
    ledger.post_intents(limit=100, now=NOW)

    def freeze(some):
        with transaction.atomic():
            return rewards.freeze(replica_ids=some, now=NOW)

    mature = partial(ledger.mature, limit=100, now=NOW)
    answers = side_by_side(
        mature, partial(freeze, names[:30]), mature, partial(freeze, names[10:][::-1]), mature
    )
    mature()

    assert [answer for answer in answers if not isinstance(answer, int)] == []
    frozen = TransferIntent.objects.filter(frozen_at__isnull=False)
    assert frozen.count() == answers[1] + answers[3]
    assert Transfer.objects.filter(kind="mature").count() == 40 - frozen.count()
    assert_sound()


@pytest.mark.postgres
def test_a_poster_does_not_wait_for_who_freezes(held_job, record, side_by_side):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    for name in ("r0", "r1"):
        record(name, due_at=NOW)
    ledger.post_intents(limit=100, now=NOW)

    def mature_soon():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        return ledger.mature(limit=100, now=NOW)

    with transaction.atomic():
        rewards.freeze(replica_ids=["r0"], now=NOW)
        answers = side_by_side(mature_soon)

    assert answers == [1]
    assert ledger.mature(limit=100, now=NOW) == 0
    assert_sound()
