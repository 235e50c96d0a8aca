"""Deciding many at once leaves the rows that deciding one by one would."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from payments.models import Transfer, TransferIntent
from tasks import pace, scheduling
from tasks.models import Chunk, Credibility, Job, Replica
from tasks.verification import audits, batches, verdicts
from tests import factories
from tests.tasks import work

NOW = factories.NOW
#: Nothing, the same thing a little apart, and something else.
SEEN = ((), ((1, 0.9, 10.0, 10.0, 20.0, 20.0),), ((1, 0.902, 10.0, 10.0, 20.0, 20.0),),
        ((1, 0.9, 30.0, 10.0, 20.0, 20.0),))  # fmt: skip

JOB_COLUMNS = [field.name for field in Job._meta.fields if field.name != "version"]

pytestmark = [pytest.mark.django_db, pytest.mark.lots]


@pytest.fixture
def nodes():
    return factories.make_fleet(5, slots=32)


@pytest.fixture
def job(client_user, nodes):
    """Six chunks at the standard tier, two of whose nodes have a record."""
    model = factories.make_model()
    for node in nodes[:2]:
        Credibility.objects.create(
            node=node, model=model, checks_tenths=500, answers=7, state="trusted"
        )
    Credibility.objects.create(node=nodes[2], model=model, checks_tenths=195)
    return work.start(client_user, nodes, images=6, model=model.pk, target_error="1e-3")


def rows() -> dict:
    """Return everything but the numbers of rows that were written anew."""
    found = work.everything()
    for label in ("payments.LedgerAccount", "tasks.JobEvent", "tasks.Credibility"):
        found[label] = sorted((row[1:] for row in found[label]), key=repr)
    for model in (Transfer, TransferIntent):
        named = model.objects.values_list("key", "debit__code", "credit__code", "amount_minor")
        found[model._meta.label] = sorted(named)
    # Pages compare a job's version for change; how far it moved means nothing.
    found["tasks.Job"] = list(Job.objects.order_by("pk").values(*JOB_COLUMNS))
    return found


def undone(decide) -> dict:
    """Return the rows after `decide`, and take it back."""
    with transaction.atomic():
        decide()
        after = rows()
        transaction.set_rollback(True)
    return after


def common_first(chunk_ids: list[int]) -> list[int]:
    """Return the chunks in the order in which they are decided at once.

    A node's answers are numbered, and its pace follows them, in the order of their acceptance.
    """
    with transaction.atomic():
        common = batches._decide_common(chunk_ids, now=NOW)
        transaction.set_rollback(True)
    return sorted(chunk_ids, key=lambda chunk_id: (chunk_id not in common, chunk_id))


@given(st.lists(st.integers(0, 3), min_size=30, max_size=30), st.data())
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_rows_are_the_same_as_one_by_one(job, monkeypatch, seen, data):
    monkeypatch.setattr(audits, "is_drawn", lambda *, chunk_id, checks: chunk_id % 2 == 0)
    with transaction.atomic():
        choice = itertools.cycle(seen)
        for _ in range(data.draw(st.integers(1, 3))):
            leased = work.leased(job)
            if leased:
                sent = [
                    work.report_of(row, *SEEN[next(choice)], compute_ms=100 + 37 * place)
                    for place, row in enumerate(leased)
                ]
                changed = work.accept(*sent, now=NOW + timedelta(seconds=2))
                if data.draw(st.booleans()):
                    batches.decide_all(changed, now=NOW)
            scheduling.assign_ready(now=NOW)
        chunk_ids = sorted(
            Replica.objects.filter(job=job, state="reported").values_list("chunk", flat=True)
        )
        chunk_ids = sorted(set(chunk_ids))
        at_once = undone(lambda: batches.decide_all(chunk_ids, now=NOW))
        in_turn = common_first(chunk_ids)
        one_by_one = undone(
            lambda: [verdicts.advance(chunk_id=chunk_id, now=NOW) for chunk_id in in_turn]
        )
        transaction.set_rollback(True)

    for label, expected in one_by_one.items():
        assert at_once[label] == expected, label


def test_the_pace_of_each_node_follows_its_answers_in_their_order(client_user, nodes):
    job = work.start(client_user, nodes, images=6, target_error="1e-2")
    leased = work.leased(job)
    told = {row.pk: 100 + 50 * place for place, row in enumerate(leased)}
    sent = [work.report_of(row, compute_ms=told[row.pk]) for row in leased]
    chunk_ids = work.accept(*sent, now=NOW + timedelta(seconds=1))

    assert batches.decide_all(chunk_ids, now=NOW) == len(chunk_ids)

    for known in Credibility.objects.all():
        mine = [row for row in leased if row.node_id == known.node_id]
        in_order = sorted(mine, key=lambda row: row.chunk_id)
        said = [(told[row.pk] / row.chunk.items_count, 0.0) for row in in_order]
        assert known.image_ms == pace.follow_all(None, said)
    assert work.unsound() == []


def test_honest_answers_are_decided_in_the_same_number_of_statements(
    client_user, nodes, django_assert_max_num_queries
):
    job = work.start(client_user, nodes, images=12)
    leased = work.leased(job)
    chunk_ids = work.accept(*map(work.report_of, leased))

    with django_assert_max_num_queries(45):
        assert batches.decide_all(chunk_ids, now=NOW) == len(chunk_ids)

    assert set(Chunk.objects.filter(job=job).values_list("state", flat=True)) == {"provisional"}
    assert work.unsound() == []


def test_deciding_again_changes_nothing(client_user, nodes):
    job = work.start(client_user, nodes)
    chunk_ids = work.accept(*map(work.report_of, work.leased(job)))
    batches.decide_all(chunk_ids, now=NOW)
    before = work.everything()

    assert batches.decide_all(chunk_ids, now=NOW) == 0
    assert work.everything() == before
