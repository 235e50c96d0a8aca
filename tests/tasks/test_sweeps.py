"""Every lost message is rebuilt from the rows, and sweeping twice does nothing twice."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from django.db import transaction

from tasks import jobs, leases, reports, scheduling, sweeps
from tasks.models import Job, Replica
from tasks.verification import acceptance
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)
NOTHING = sweeps.Swept(**{field.name: 0 for field in dataclasses.fields(sweeps.Swept)})


@pytest.fixture
def sweep(django_capture_on_commit_callbacks):
    """Return a function that sweeps and answers what it found and what it would send."""

    def run(now):
        with django_capture_on_commit_callbacks() as callbacks:
            swept = sweeps.sweep(now=now)
        return swept, [(call.func.__name__, call.keywords) for call in callbacks]

    return run


def store(*sent, now):
    """Store reports, and die before deciding."""
    signed = [
        reports.SignedReport(report=report, body=report.model_dump_json(), signature="s" * 88)
        for report in sent
    ]
    with transaction.atomic():
        reports.accept(signed, now=now)


def rows() -> dict:
    """Return all rows but the one that says when the last sweep was."""
    return {label: found for label, found in work.everything().items() if label != "tasks.Platform"}


def test_with_nothing_lost_nothing_happens(client_user, now, sweep):
    work.start(client_user, factories.make_fleet(2))
    before = rows()

    assert sweep(now) == (NOTHING, [])

    assert rows() == before


def test_a_job_whose_announcement_was_never_sent_is_announced(client_user, now, sweep):
    job = factories.make_job(client_user)

    swept, sent = sweep(now + 3 * SECOND)

    assert swept.announced == 1
    assert sent == [("send_announcement", {"job_id": job.pk})]


def test_a_job_submitted_a_moment_ago_is_left_to_its_submission(client_user, now, sweep):
    factories.make_job(client_user)

    assert sweep(now + SECOND)[1] == []


@pytest.mark.parametrize(("age", "announced"), [(9, 0), (11, 1)])
def test_a_job_nobody_can_take_is_announced_every_ten_seconds(
    client_user, now, sweep, age, announced
):
    factories.make_job(client_user)
    Job.objects.update(announced_at=now, announced_again_at=now)

    assert sweep(now + age * SECOND)[0].announced == announced


@pytest.mark.parametrize("stop", [jobs.pause, jobs.cancel])
def test_a_job_that_is_not_open_is_not_announced(client_user, now, sweep, stop):
    job = factories.make_job(client_user)
    stop(job_id=job.pk, now=now)

    assert sweep(now + 60 * SECOND) == (NOTHING, [])


def test_a_job_all_of_which_is_at_work_is_not_announced(client_user, now, sweep):
    job = work.start(client_user, factories.make_fleet(2))
    Replica.objects.update(started_at=now)

    assert sweep(now + 20 * SECOND) == (NOTHING, [])
    assert len(work.leased(job)) == 2


def test_an_assignment_that_nobody_began_is_sent_again(client_user, now, sweep):
    job = work.start(client_user, factories.make_fleet(2))
    begun, lost = work.leased(job)
    Replica.objects.filter(pk=begun.pk).update(started_at=now)
    before = rows()

    swept, sent = sweep(now + 9 * SECOND)

    assert swept.resent == 1
    assert sent == [("send_assignments", {"replica_ids": [lost.pk]})]
    assert rows() == before


def test_a_fresh_assignment_is_given_time(client_user, now, sweep):
    work.start(client_user, factories.make_fleet(2))

    assert sweep(now + 7 * SECOND)[0].resent == 0


def test_stored_reports_that_nobody_decided_are_decided(client_user, now, sweep):
    job = work.start(client_user, factories.make_fleet(2))
    store(*map(work.report_of, work.leased(job)), now=now)
    assert sweep(now + 2 * SECOND)[0] == NOTHING

    swept, _ = sweep(now + 4 * SECOND)

    assert swept.decided == 1
    job.refresh_from_db()
    assert (job.state, job.items_provisional) == ("finished", 1)
    assert sweep(now + 4 * SECOND) == (NOTHING, [])
    assert work.unsound() == []


def test_stored_reports_that_differ_call_another_owner(client_user, now, sweep):
    job = work.start(client_user, factories.make_fleet(3))
    first, second = work.leased(job)
    store(work.report_of(first), work.report_of(second, work.ELSEWHERE), now=now)

    swept, _ = sweep(now + 4 * SECOND)

    assert (swept.decided, swept.assigned) == (0, 1)
    assert job.chunks.get().wanted == 4
    assert work.unsound() == []


def test_an_expired_lease_goes_to_another_owner(client_user, now, sweep):
    nodes = factories.make_fleet(3)
    job = work.start(client_user, nodes)
    silent, busy = work.leased(job)
    late = now + 46 * SECOND
    Replica.objects.filter(pk=busy.pk).update(lease_expires_at=late, started_at=now)

    swept, sent = sweep(late)

    assert (swept.expired, swept.assigned) == (1, 1)
    (fresh,) = [row for row in work.leased(job) if row.pk != busy.pk]
    assert fresh.node_id not in {silent.node_id, busy.node_id}
    assert ("send_withdrawals", {"replica_ids": [silent.pk]}) in sent
    assert ("send_assignments", {"replica_ids": [fresh.pk]}) in sent
    assert sweep(late)[0].expired == 0
    assert work.unsound() == []


def test_a_chunk_that_was_tried_too_often_goes_to_the_referee(client_user, now, sweep):
    job = work.start(client_user, factories.make_fleet(10))

    for round_number in range(1, 10):
        late = now + 46 * round_number * SECOND
        leases.expire(now=late)
        scheduling.assign_ready(now=late)
    late = now + 500 * SECOND
    _, sent = sweep(late)

    chunk = job.chunks.get()
    assert job.replicas.count() == acceptance.ATTEMPTS_MAX
    assert (chunk.state, chunk.referee_asked_at) == ("open", late)
    assert ("send_work", {"name": "tasks.referee", "arguments": {"chunk_id": chunk.pk}}) in sent
    assert sweep(late + SECOND)[0].refereeing == 0
    assert sweep(late + 61 * SECOND)[0].refereeing == 1
    work.referee_says(chunk, work.FOUND, now=late)
    job.refresh_from_db()
    assert (job.state, job.items_provisional) == ("finished", 1)
    assert work.unsound() == []


def test_work_that_was_never_scheduled_is_scheduled(client_user, now, sweep):
    job = factories.make_job(client_user)
    factories.announce(job, nodes=factories.make_fleet(2))

    assert sweep(now)[0].assigned == 2
    assert sweep(now)[0] == NOTHING
