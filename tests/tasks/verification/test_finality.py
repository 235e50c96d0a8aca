"""Provisional results become final when their window is over and nobody questions them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payments import ledger
from payments import queries as money
from tasks import scheduling
from tasks.models import Chunk, Credibility, Item, Replica
from tasks.verification import finality, verdicts
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def agreed(client_user):
    """Two chunks on which two fresh nodes each agree."""
    job = work.start(client_user, factories.make_fleet(2, slots=4), images=2, target_error="1e-2")
    work.take(*map(work.report_of, work.leased(job)))
    return job


@pytest.fixture
def alone(client_user):
    """One chunk accepted on the word of a node with 150 checks."""
    return trust.accepted_alone(client_user, factories.make_fleet(4), checks=150)


def available_minor(replica: Replica) -> int:
    return money.wallet(replica.operator_id).available_minor


def test_a_group_of_new_nodes_settles_after_seven_days(agreed, now):
    assert finality.settle(now=now + 7 * DAY - SECOND) == 0

    assert finality.settle(now=now + 7 * DAY) == 2

    assert set(agreed.chunks.values_list("state", flat=True)) == {"final"}
    assert set(agreed.items.values_list("state", flat=True)) == {"final"}
    agreed.refresh_from_db()
    assert (agreed.items_provisional, agreed.items_final) == (0, 2)
    assert agreed.events.filter(code="settled").count() == 1
    assert work.unsound() == []


def test_its_rewards_are_available_on_the_same_day(agreed, now):
    replica = agreed.replicas.order_by("pk")[0]
    ledger.post_intents(limit=100, now=now)

    ledger.mature(now=now + 7 * DAY - SECOND, limit=100)
    early = available_minor(replica)
    ledger.mature(now=now + 7 * DAY, limit=100)

    assert (early, available_minor(replica)) == (0, 100_000)


def test_the_results_that_are_final_are_those_that_were_provisional(agreed, now):
    before = list(agreed.items.order_by("pk").values_list("detections", "decided_at"))

    finality.settle(now=now + 7 * DAY)

    assert list(agreed.items.order_by("pk").values_list("detections", "decided_at")) == before


def test_settling_again_changes_nothing(agreed, now):
    finality.settle(now=now + 7 * DAY)
    before = work.everything()

    assert finality.settle(now=now + 8 * DAY) == 0

    assert work.everything() == before


def test_what_is_final_is_decided_no_more(agreed, now):
    finality.settle(now=now + 7 * DAY)
    before = work.everything()

    for chunk in agreed.chunks.all():
        assert verdicts.advance(chunk_id=chunk.pk, now=now + 8 * DAY) is None

    assert work.everything() == before


def test_one_word_alone_waits_for_the_nodes_next_hundred(alone, now):
    (replica,) = alone.replicas.all()
    assert alone.chunks.get().settles_at == now + 2 * DAY
    Credibility.objects.filter(node=replica.node).update(answers=replica.sequence + 99)
    assert finality.settle(now=now + 2 * DAY) == 0
    later = now + 2 * DAY + finality.AGAIN_AFTER
    assert alone.chunks.get().settles_at == later
    Credibility.objects.filter(node=replica.node).update(answers=replica.sequence + 100)

    assert finality.settle(now=later) == 1

    ledger.post_intents(limit=100, now=later)
    ledger.mature(now=later, limit=100)
    assert available_minor(replica) == 50_000
    assert work.unsound() == []


def test_one_word_alone_waits_seven_days_at_most_and_so_does_its_reward(alone, now):
    (replica,) = alone.replicas.all()
    ledger.post_intents(limit=100, now=now)
    ledger.mature(now=now + 7 * DAY - SECOND, limit=100)
    assert available_minor(replica) == 0
    Chunk.objects.update(settles_at=now + 7 * DAY)

    assert finality.settle(now=now + 7 * DAY) == 1

    ledger.mature(now=now + 7 * DAY, limit=100)
    assert available_minor(replica) == 50_000


@pytest.mark.parametrize(("state", "answer"), [("leased", None), ("reported", [[]])])
def test_a_chunk_that_somebody_still_works_on_does_not_settle(agreed, now, state, answer):
    chunk = agreed.chunks.order_by("pk")[0]
    Replica.objects.create(
        chunk=chunk,
        job=agreed,
        node=factories.make_fleet(1)[0],
        operator=factories.make_user("operator"),
        state=state,
        answer=answer,
        purpose="audit",
        nonce="n",
        assigned_at=now,
        lease_expires_at=now,
        reward_minor=1,
        fee_minor=0,
    )

    assert finality.settle(now=now + 7 * DAY) == 1

    chunk.refresh_from_db()
    assert chunk.state == "provisional"


@pytest.mark.parametrize("changes", [{"reason": "rechecking"}, {"stirred_at": factories.NOW}])
def test_a_chunk_in_question_does_not_settle(agreed, now, changes):
    Chunk.objects.update(**changes)

    assert finality.settle(now=now + 8 * DAY) == 0

    assert set(Item.objects.values_list("state", flat=True)) == {"provisional"}


def test_who_waits_too_long_for_others_is_judged_by_the_referee(alone, now):
    replica = alone.replicas.get()
    trust.catch(replica)
    late = now + 3 * DAY
    assert finality.overdue(now=now + DAY, limit=9) == []
    assert finality.overdue(now=late, limit=9) == [replica.chunk_id]

    decision = verdicts.advance(chunk_id=replica.chunk_id, now=late)

    assert decision.action == "referee"
    assert alone.chunks.get().referee_asked_at == late
    work.referee_says(alone.chunks.get(), work.FOUND, now=late)
    chunk = alone.chunks.get()
    assert (chunk.reason, chunk.settles_at) == ("", late)
    assert finality.settle(now=late) == 1
    assert work.unsound(late) == []


def test_what_neither_others_nor_the_referee_confirm_is_withdrawn_aloud(alone, now):
    replica = alone.replicas.get()
    trust.catch(replica)
    late = now + 3 * DAY
    verdicts.advance(chunk_id=replica.chunk_id, now=late)

    work.referee_says(alone.chunks.get(), error="model_died", now=late)

    chunk, item = alone.chunks.get(), alone.items.get()
    assert (chunk.state, chunk.reason) == ("failed", "app_error")
    assert (item.state, item.detections) == ("failed", None)
    alone.refresh_from_db()
    assert (alone.state, alone.items_provisional, alone.items_failed) == ("finished", 0, 1)
    assert alone.events.filter(code="result_withdrawn").count() == 1
    assert trust.reward(replica) == "voided"
    assert work.unsound(late) == []


def test_many_chunks_cost_as_many_queries_as_few(client_user, now):
    counts = []
    for images in (1, 6):
        job = work.start(
            client_user, factories.make_fleet(2, slots=8), images=images, target_error="1e-2"
        )
        work.take(*map(work.report_of, work.leased(job)))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert finality.settle(now=now + 7 * DAY) == images
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_scheduling_gives_out_what_is_in_question_though_the_job_has_ended(alone, now):
    trust.catch(alone.replicas.get())
    assert alone.state == "finished"

    assert len(scheduling.assign_ready(now=now)) == 3

    assert {row.purpose for row in work.leased(alone)} == {"recheck"}


def test_a_paused_job_gets_no_check_and_no_new_work(alone, now):
    trust.catch(alone.replicas.get())
    type(alone).objects.filter(pk=alone.pk).update(state="paused")

    assert scheduling.assign_ready(now=now) == []


def test_results_of_a_cancelled_job_are_computed_again_too(alone, now):
    trust.catch(alone.replicas.get())
    type(alone).objects.filter(pk=alone.pk).update(state="cancelled")

    assert len(scheduling.assign_ready(now=now)) == 3
