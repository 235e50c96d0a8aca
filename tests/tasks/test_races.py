"""All that may happen to a job at one time, from many connections: no deadlock, nothing lost."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction

from payments import ledger
from tasks import acks, errors, jobs, leases, nodes, scheduling, sweeps
from tasks.models import Job, Node, Replica
from tests import factories
from tests.tasks import work
from workers.protocol import messages

pytestmark = pytest.mark.django_db(transaction=True)

CHUNKS = 8


@pytest.fixture
def fleet(db):
    return factories.make_fleet(4, slots=CHUNKS)


@pytest.fixture
def job(fleet):
    """Eight chunks that three of four nodes compute each."""
    job = work.start(factories.make_user(), fleet, images=CHUNKS, target_error="1e-4")
    assert len(work.leased(job)) == 4 * CHUNKS
    return job


def all_sent(job) -> list[messages.Report]:
    return [work.report_of(replica) for replica in work.leased(job)]


def acknowledge(job, fleet, now):
    sent = [
        messages.AckMessage(sent_at=now, node=node.pk, job=job.pk, slots=CHUNKS, cached_models=[])
        for node in fleet
    ]
    with transaction.atomic():
        return acks.accept(sent, now=now)


def be_alive(job, fleet, now):
    beats = [
        messages.Heartbeat(
            sent_at=now,
            node=node.pk,
            running=[str(pk) for pk in node.replicas.values_list("pk", flat=True)],
            slots=CHUNKS,
            cached_models=[],
        )
        for node in fleet
    ]
    with transaction.atomic():
        return leases.renew(sorted(beats, key=lambda beat: beat.node), now=now)


def failures(answers) -> list[Exception]:
    return [answer for answer in answers if isinstance(answer, Exception)]


def test_answers_heartbeats_acks_and_a_removed_node_at_once(job, fleet, now, side_by_side):
    sent = all_sent(job)

    answers = side_by_side(
        partial(work.take, *sent[::2]),
        partial(work.take, *sent[::-2]),
        partial(nodes.retire, node_id=fleet[0].pk, now=now),
        partial(acknowledge, job, fleet, now),
        partial(acknowledge, job, fleet[::-1], now),
        partial(be_alive, job, fleet, now + timedelta(seconds=1)),
        partial(scheduling.assign_ready, now=now),
    )

    assert failures(answers) == []
    for _ in range(3):
        sweeps.sweep(now=now)
        for replica in work.leased(job):
            work.take(work.report_of(replica))
    ledger.post_intents(limit=1000, now=now)
    assert (Job.objects.get().state, Job.objects.get().items_provisional) == ("finished", CHUNKS)
    assert not Replica.objects.filter(state=Replica.State.LEASED).exists()
    assert Node.objects.get(pk=fleet[0].pk).state == Node.State.RETIRED
    assert work.unsound() == []


def test_cancelling_while_answers_arrive_pays_each_once(job, fleet, now, side_by_side):
    sent = all_sent(job)

    answers = side_by_side(
        partial(work.take, *sent[::2]),
        partial(work.take, *sent[1::2]),
        partial(jobs.cancel, job_id=job.pk, now=now),
        partial(sweeps.sweep, now=now),
        partial(ledger.post_intents, limit=1000, now=now),
    )

    failed = failures(answers)
    assert all(isinstance(failure, errors.WrongState) for failure in failed)
    ledger.post_intents(limit=1000, now=now)
    assert Job.objects.get().state == ("finished" if failed else "cancelled")
    rewarded = Replica.objects.filter(state__in=["accepted", "cancelled"]).count()
    assert rewarded == 4 * CHUNKS
    assert ledger.Transfer.objects.filter(kind="reward").count() == rewarded
    assert work.unsound() == []


def test_leases_expiring_side_by_side_are_lost_once(job, now, side_by_side):
    late = now + timedelta(minutes=1)

    answers = side_by_side(
        *[partial(leases.expire, now=late)] * 3,
        partial(sweeps.sweep, now=late),
        partial(work.take, *all_sent(job)[:6], now=late),
    )

    assert failures(answers) == []
    assert not Replica.objects.filter(
        state=Replica.State.LEASED, lease_expires_at__lt=late
    ).exists()
    assert work.unsound() == []
