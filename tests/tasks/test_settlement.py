"""Where work meets money: who pays, when it is released, and what is taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from payments import invariants, ledger, queries
from tasks import settlement
from tasks.models import Chunk, Replica
from tests import factories
from tests.tasks import work

NOW = work.NOW
LATER = NOW + timedelta(days=2)
P = Replica.Purpose


@pytest.fixture
def chunk(client_user) -> Chunk:
    """A chunk of a paid job that two nodes work on."""
    return work.start(client_user, factories.make_fleet(2)).chunks.get()


@pytest.fixture
def replicas(chunk) -> list[Replica]:
    return list(chunk.replicas.order_by("pk"))


def reward(chunk, replicas, *, planned=2, matures_at=LATER):
    with transaction.atomic():
        settlement.reward(
            chunk=chunk, replicas=replicas, planned=planned, matures_at=matures_at, now=NOW
        )
    ledger.post_intents(limit=100, now=NOW)


def states(replicas):
    found = queries.rewards([str(row.pk) for row in replicas])
    return [(found[str(row.pk)].state, found[str(row.pk)].released_at) for row in replicas]


def sound():
    return [check.name for check in invariants.audit(now=NOW) if not check.ok] == []


@pytest.mark.parametrize(
    ("purposes", "planned", "purses"),
    [
        ([P.WORK, P.WORK], 2, "ee"),
        ([P.WORK, P.WORK, P.WORK], 2, "eer"),
        ([P.RACE, P.RACE, P.RACE], 3, "eee"),
        ([P.AUDIT, P.WORK, P.HEDGE, P.WORK], 2, "rere"),
        ([P.SMOKE, P.RECHECK], 2, "rr"),
        ([P.WORK], 0, "r"),
        ([], 2, ""),
    ],
)
def test_the_client_pays_what_was_planned_and_the_reserve_the_rest(purposes, planned, purses):
    replicas = [Replica(purpose=purpose) for purpose in purposes]

    found = settlement.paid_from(replicas, planned=planned)

    assert "".join(purse[0] for purse in found) == purses


def test_rewards_are_released_on_the_day_they_are_given(chunk, replicas):
    reward(chunk, replicas)

    assert states(replicas) == [("pending", LATER)] * 2
    assert sound()


def test_frozen_rewards_go_on_when_they_are_freed(chunk, replicas):
    reward(chunk, replicas)
    first, second = replicas

    with transaction.atomic():
        assert settlement.freeze(replica_ids=[first.pk], now=NOW) == 1
    assert states(replicas) == [("frozen", LATER), ("pending", LATER)]
    assert ledger.mature(now=LATER, limit=100) == 1

    with transaction.atomic():
        assert settlement.unfreeze(replica_ids=[first.pk, second.pk], now=NOW) == 1
    assert ledger.mature(now=LATER, limit=100) == 1


def test_taking_back_names_what_is_too_late(chunk, replicas):
    reward(chunk, replicas[:1], matures_at=NOW)
    reward(chunk, replicas[1:])
    ledger.mature(now=NOW, limit=100)

    with transaction.atomic():
        too_late = settlement.void(replica_ids=[row.pk for row in replicas], now=NOW)

    assert too_late == [replicas[0].pk]
    assert states(replicas) == [("available", NOW), ("voided", None)]


def test_work_accepted_again_after_it_was_voided_is_paid_once_more(chunk, replicas):
    first = replicas[0]
    reward(chunk, replicas)
    with transaction.atomic():
        settlement.void(replica_ids=[first.pk], now=NOW)
    decided = Chunk.objects.get(pk=chunk.pk)
    decided.decided_at = NOW

    for _ in range(2):
        reward(decided, [first], planned=0, matures_at=LATER)

    assert states(replicas) == [("pending", LATER)] * 2
    assert queries.wallet(first.operator_id).pending_minor == first.reward_minor
    assert sound()


def test_rewards_move_to_another_day(chunk, replicas):
    reward(chunk, replicas)

    with transaction.atomic():
        settlement.postpone(replica_ids=[replicas[0].pk], due_at=LATER + timedelta(days=1), now=NOW)

    assert states(replicas) == [("pending", LATER + timedelta(days=1)), ("pending", LATER)]
