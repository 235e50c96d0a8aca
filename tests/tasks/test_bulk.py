"""Rows inserted over arrays are those that the plain way inserts."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db import IntegrityError, transaction

from tasks import bulk
from tasks.models import GoldItem, Replica
from tests import factories
from tests.tasks import work


def replicas(job, nodes, **changes) -> list[Replica]:
    fields = {
        "chunk": job.chunks.get(),
        "job": job,
        "assigned_at": work.NOW,
        "lease_expires_at": work.NOW + timedelta(seconds=45),
        "reward_minor": 5,
        "fee_minor": 1,
    }
    return [
        Replica(
            **{**fields, **changes},
            node=node,
            operator_id=node.owner_id,
            nonce=f"{number:032x}",
        )
        for number, node in enumerate(nodes)
    ]


def rows(insert, made) -> list[tuple]:
    """Insert, read all columns but the id, and take it back."""
    with transaction.atomic():
        inserted = insert(made)
        assert [row.pk for row in inserted] == list(
            Replica.objects.order_by("nonce").values_list("pk", flat=True)
        )
        found = [row[1:] for row in Replica.objects.order_by("nonce").values_list()]
        transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"purpose": Replica.Purpose.AUDIT, "state": Replica.State.LEASED},
        {"answer": [[[1, 0.5]]], "compute_ms": 3, "reported_at": work.NOW},
    ],
)
def test_every_column_is_as_the_plain_way_writes_it(client_user, count, changes):
    nodes = factories.make_fleet(count)
    job = factories.make_job(client_user)

    assert rows(partial(bulk.insert, key="nonce"), replicas(job, nodes, **changes)) == rows(
        Replica.objects.bulk_create, replicas(job, nodes, **changes)
    )


def test_gold_is_written_too(client_user):
    (node,) = factories.make_fleet(1)
    job = factories.make_job(client_user)
    gold = GoldItem.objects.create(
        model=job.model, blob=job.model.blob, width=1, height=1, expected=[]
    )

    (one,) = bulk.insert(replicas(job, [node], gold=gold, gold_position=1), key="nonce")

    one.refresh_from_db()
    assert (one.gold, one.gold_position) == (gold, 1)


def test_an_owner_twice_inserts_nothing(client_user):
    (node,) = factories.make_fleet(1)
    job = factories.make_job(client_user)

    with pytest.raises(IntegrityError), transaction.atomic():
        bulk.insert(replicas(job, [node, node]), key="nonce")

    assert not Replica.objects.exists()


def test_more_rows_than_one_statement_holds_all_get_their_ids(client_user, monkeypatch):
    monkeypatch.setattr(bulk, "ROWS_MAX", 2)
    nodes = factories.make_fleet(5)
    job = factories.make_job(client_user)

    made = bulk.insert(replicas(job, nodes), key="nonce")

    assert [row.pk for row in made] == list(
        Replica.objects.order_by("nonce").values_list("pk", flat=True)
    )
    assert bulk.insert([], key="nonce") == []
