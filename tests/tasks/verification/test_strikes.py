"""A node is caught: what it is believed, what its answers are worth, what it may do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tasks import scheduling
from tasks.models import Chunk, Credibility, Replica, Strike
from tasks.verification import faults, strikes, verdicts
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HERE = [{"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]}]
THERE = [{"label": "person", "score": 0.9, "box": [30.0, 10.0, 20.0, 20.0]}]


@pytest.fixture
def nodes():
    return factories.make_fleet(5, slots=4)


@pytest.fixture
def job(client_user, nodes):
    """Two chunks, accepted on the word of the first node."""
    return trust.accepted_alone(client_user, nodes, images=2)


def recheck(job, *, found=work.FOUND, now=trust.NOW) -> list[Replica]:
    """Let the chunk in question be computed again by others who see `found`."""
    scheduling.assign_ready(now=now)
    rows = work.leased(job)
    work.take(*(work.report_of(row, found) for row in rows), now=now)
    return rows


def test_a_caught_node_starts_again_from_nothing(job, nodes, now):
    strike = trust.catch(job.replicas.order_by("pk")[0])

    known = trust.record(nodes[0], job)
    assert (known.state, known.checks_tenths, known.strikes) == ("watched", 0, 1)
    assert (known.struck_at, known.barred_until) == (now, None)
    assert (strike.enforced_at, strike.lost_tenths, strike.is_counted) == (now, 500, True)


def test_its_unsettled_answers_are_computed_again_while_the_client_keeps_them(job, now):
    first, second = job.replicas.order_by("pk")

    trust.catch(first)

    chunk = second.chunk
    chunk.refresh_from_db()
    assert (chunk.state, chunk.reason, chunk.rechecks) == ("provisional", "rechecking", 1)
    assert (chunk.granted, chunk.wanted, chunk.purpose) == (1, 4, "recheck")
    second.refresh_from_db()
    assert (second.state, second.doubted_at) == ("accepted", now)
    assert trust.reward(second) == "frozen"
    assert [item.detections for item in job.items.all()] == [HERE, HERE]
    job.refresh_from_db()
    assert (job.state, job.items_provisional, job.corrections) == ("finished", 2, 0)
    assert job.events.filter(code="rechecking").count() == 2
    assert work.unsound() == []


def test_an_answer_that_others_confirm_keeps_its_reward_but_earns_no_trust(job, nodes, now):
    second = job.replicas.order_by("pk")[1]
    trust.catch(job.replicas.order_by("pk")[0])

    others = recheck(job)

    second.refresh_from_db()
    second.chunk.refresh_from_db()
    assert (second.state, second.chunk.reason, second.chunk.state) == (
        "accepted",
        "",
        "provisional",
    )
    assert second.chunk.settles_at == now + 7 * DAY
    assert {trust.reward(row) for row in [second, *others]} == {"pending"}
    assert trust.record(nodes[0], job).checks_tenths == 0
    assert len(others) == 6
    checks = {row.node_id: trust.record(row.node, job).checks_tenths for row in others}
    assert sum(checks.values()) == 60
    assert work.unsound() == []


def test_an_answer_that_others_refute_is_corrected_aloud_and_not_paid(job, nodes):
    second = job.replicas.order_by("pk")[1]
    trust.catch(job.replicas.order_by("pk")[0])

    others = recheck(job, found=work.ELSEWHERE)

    second.refresh_from_db()
    assert (second.state, second.reason, trust.reward(second)) == (
        "rejected",
        "overturned",
        "voided",
    )
    assert [item.detections for item in job.items.all()] == [THERE, THERE]
    job.refresh_from_db()
    assert (job.corrections, job.items_provisional) == (2, 2)
    assert job.events.filter(code="result_corrected").count() == 2
    assert {trust.reward(row) for row in others} == {"pending"}
    # It had been caught for this time already.
    assert Strike.objects.count() == 1
    assert work.unsound() == []


def test_what_is_final_is_left_alone(job, now):
    Chunk.objects.update(state=Chunk.State.FINAL)
    before = set(Replica.objects.values_list("pk", "state", "doubted_at"))

    trust.catch(job.replicas.order_by("pk")[0])

    assert set(Replica.objects.values_list("pk", "state", "doubted_at")) == before
    assert [item.detections for item in job.items.all()] == [HERE, HERE]


@pytest.mark.parametrize(
    ("days", "state", "barred_days"),
    [
        ([0, 10], "quarantined", 17),
        ([0, 40], "watched", None),
        ([0, 40, 80], "banned", None),
    ],
)
def test_who_does_it_again_is_barred(client_user, nodes, now, days, state, barred_days):
    replicas = [
        trust.accepted_alone(client_user, [node], images=1).replicas.get() for node in nodes[:3]
    ]
    node, model = replicas[0].node, replicas[0].job.model_id
    for replica, day in zip(replicas, days, strict=False):
        at = now + day * DAY
        Replica.objects.filter(pk=replica.pk).update(node=node, reported_at=at)
        replica.refresh_from_db()
        faults.record(replicas=[replica], model_id=model, cause=Strike.Cause.REFEREE, now=at)
        strikes.enforce(now=at)

    known = Credibility.objects.get(node=node, model=model)
    assert (known.state, known.strikes) == (state, len(days))
    assert known.barred_until == (now + barred_days * DAY if barred_days else None)


def miss_narrowly(replica: Replica, *, now) -> Strike:
    """Let the node have been nearly right, and everything follow from it."""
    faults.record(
        replicas=[replica], model_id=replica.job.model_id, cause=Strike.Cause.NEAR, now=now
    )
    strikes.enforce(now=now)
    return Strike.objects.get(replica=replica)


def test_a_near_miss_takes_half_of_the_checks_and_doubts_nothing(job, nodes, now):
    first = job.replicas.order_by("pk")[0]
    before = set(Replica.objects.values_list("pk", "state", "doubted_at"))
    chunks = set(Chunk.objects.values_list("pk", "state", "reason", "wanted"))

    warning = miss_narrowly(first, now=now)

    known = trust.record(nodes[0], job)
    assert (known.checks_tenths, known.strikes, known.struck_at) == (250, 0, None)
    assert (warning.lost_tenths, warning.answers, warning.is_counted) == (250, 2, False)
    assert warning.enforced_at == now
    assert set(Replica.objects.values_list("pk", "state", "doubted_at")) == before
    assert set(Chunk.objects.values_list("pk", "state", "reason", "wanted")) == chunks
    assert {trust.reward(row) for row in job.replicas.all()} == {"pending"}
    assert work.unsound() == []


@pytest.mark.parametrize(("answers", "strikes_counted", "doubted"), [(499, 1, 1), (500, 0, 0)])
def test_a_near_miss_soon_after_another_is_a_strike(
    job, nodes, now, answers, strikes_counted, doubted
):
    first, second = job.replicas.order_by("pk")
    miss_narrowly(first, now=now)
    record = Credibility.objects.filter(node=nodes[0], model=job.model_id)
    record.update(answers=2 + answers)
    Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")

    again = miss_narrowly(second, now=now + DAY)

    assert (again.is_counted, again.answers) == (strikes_counted == 1, 2 + answers)
    assert record.get().strikes == strikes_counted
    assert Replica.objects.exclude(doubted_at=None).count() == doubted


def test_a_warning_taken_back_gives_back_its_checks_and_is_not_remembered(job, nodes, now):
    first, second = job.replicas.order_by("pk")
    miss_narrowly(first, now=now)
    Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")

    with transaction.atomic():
        assert strikes.overturn(replica_id=first.pk, now=now)

    assert trust.record(nodes[0], job).checks_tenths == 500
    assert not miss_narrowly(second, now=now + DAY).is_counted


def test_a_warning_taken_back_leaves_what_a_strike_of_that_moment_doubts(job, nodes, now):
    first, second = job.replicas.order_by("pk")
    faults.record(replicas=[first], model_id=job.model_id, cause=Strike.Cause.NEAR, now=now)
    faults.record(replicas=[second], model_id=job.model_id, cause=Strike.Cause.GOLD, now=now)
    assert strikes.enforce(now=now) == 2
    Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")

    with transaction.atomic():
        assert strikes.overturn(replica_id=first.pk, now=now)

    assert Replica.objects.get(pk=second.pk).doubted_at == now
    known = trust.record(nodes[0], job)
    assert (known.checks_tenths, known.strikes) == (250, 1)


def test_lies_of_one_window_found_one_by_one_are_one_fault(job, nodes, now):
    first, second = job.replicas.order_by("pk")
    trust.catch(first, now=now + DAY)

    again = trust.catch(second, now=now + 2 * DAY)

    known = trust.record(nodes[0], job)
    assert (known.state, known.strikes, known.struck_at) == ("watched", 1, now + DAY)
    assert (again.is_counted, again.enforced_at) == (False, now + 2 * DAY)
    assert work.unsound(now) == []


def test_enforcing_again_changes_nothing(job, now):
    trust.catch(job.replicas.order_by("pk")[0])
    before = work.everything()

    assert strikes.enforce(now=now + DAY) == 0
    assert strikes.look_again(now=now + DAY) == 0

    assert work.everything() == before


def test_chunks_that_nobody_came_to_are_looked_at_later(job, now):
    first, second = job.replicas.order_by("pk")
    Replica.objects.filter(pk=second.pk).update(doubted_at=now)
    Chunk.objects.filter(pk=second.chunk_id).update(stirred_at=now)

    assert strikes.look_again(now=now) == 1

    second.chunk.refresh_from_db()
    assert (second.chunk.reason, second.chunk.stirred_at) == ("rechecking", None)
    first.chunk.refresh_from_db()
    assert first.chunk.reason == ""


def test_an_upheld_appeal_gives_everything_back(job, nodes, now):
    first, second = job.replicas.order_by("pk")
    strike = trust.catch(first)
    Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")
    verdicts.advance(chunk_id=first.chunk_id, now=now)

    with transaction.atomic():
        assert strikes.overturn(replica_id=first.pk, now=now + DAY)
        assert not strikes.overturn(replica_id=first.pk, now=now + DAY)

    known = trust.record(nodes[0], job)
    assert (known.state, known.checks_tenths, known.strikes) == ("probation", 500, 0)
    assert (known.struck_at, known.barred_until) == (None, None)
    strike.refresh_from_db()
    assert strike.overturned_at == now + DAY
    first.refresh_from_db()
    assert (first.state, first.reason) == ("accepted", "appeal_upheld")
    assert strikes.look_again(now=now + DAY) == 2
    second.refresh_from_db()
    second.chunk.refresh_from_db()
    assert (second.doubted_at, second.chunk.reason, second.chunk.wanted) == (None, "", 1)
    assert trust.reward(second) == "pending"


def test_an_appeal_against_nothing_takes_nothing_back(job, now):
    replica = job.replicas.order_by("pk")[0]
    before = work.everything()

    with transaction.atomic():
        assert not strikes.overturn(replica_id=replica.pk, now=now)
        assert not strikes.overturn(replica_id=replica.pk + 1000, now=now)

    assert work.everything() == before


@pytest.mark.django_db(transaction=True)
def test_carried_out_side_by_side_a_strike_strikes_once(now, side_by_side):
    fleet = factories.make_fleet(4, slots=4)
    job = trust.accepted_alone(factories.make_user(), fleet, images=4)
    replica = job.replicas.order_by("pk")[0]
    with transaction.atomic():
        faults.record(replicas=[replica], model_id=job.model_id, cause=Strike.Cause.GOLD, now=now)

    answers = side_by_side(
        *[lambda: strikes.enforce(now=now)] * 3, lambda: strikes.look_again(now=now)
    )

    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    strikes.look_again(now=now)
    known = trust.record(fleet[0], job)
    assert (known.strikes, known.checks_tenths) == (1, 0)
    assert job.events.filter(code="rechecking").count() == 4
    assert work.unsound() == []
