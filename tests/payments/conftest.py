"""People with money."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from payments import ledger
from payments.models import LedgerAccount, Transfer, TransferIntent

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def make_user(db):
    """Return a factory of user ids by name."""
    users = get_user_model()

    def make(name: str) -> int:
        return users.objects.create(**{users.USERNAME_FIELD: f"{name}@example.org"}).pk

    return make


@pytest.fixture
def client_id(make_user) -> int:
    return make_user("client")


@pytest.fixture
def operator_id(make_user) -> int:
    return make_user("operator")


@pytest.fixture
def balances():
    """Return a function that reads every balance that is not zero, by account code."""

    def read() -> dict[str, int]:
        accounts = LedgerAccount.objects.order_by("code")
        return {
            account.code: account.balance_minor for account in accounts if account.balance_minor
        }

    return read


@pytest.fixture
def everything():
    """Return a function that reads all rows of the ledger, to show that nothing changed."""

    def read() -> list[list[tuple[object, ...]]]:
        return [
            list(model.objects.order_by("pk").values_list())
            for model in (LedgerAccount, Transfer, TransferIntent)
        ]

    return read


@pytest.fixture
def held_job(client_id):
    """Return the id of a job for which 1000 of the client's 1500 are held."""
    ledger.deposit(owner_id=client_id, amount_minor=1500, key="first", now=NOW)
    with transaction.atomic():
        ledger.hold(owner_id=client_id, ref_type="job", ref_id="7", amount_minor=1000, now=NOW)
    return "7"


@pytest.fixture
def record(operator_id):
    """Return a function that records the reward of one replica for the operator."""

    def record_reward(replica_id: str, **changes) -> None:
        fields = {
            "job_id": "7",
            "replica_id": replica_id,
            "operator_id": operator_id,
            "reward_minor": 100,
            "fee_minor": 10,
            "funded_by": "escrow",
            "due_at": NOW + timedelta(days=7),
        }
        with transaction.atomic():
            ledger.record_intents(ledger.reward_intents(**fields | changes), now=NOW)

    return record_reward
