"""A late chunk gets one more node, once, within the budget, and only at a job's end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import hedging, scheduling
from tasks.models import Chunk, Job, Replica
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)


@pytest.fixture
def nodes():
    return factories.make_fleet(6, slots=8)


@pytest.fixture
def late_job(client_user, nodes, now):
    """Four of five chunks are answered after two seconds; the last is still out."""
    job = work.start(client_user, nodes[:2], images=5)
    *done, late = job.chunks.order_by("index")
    leased = [row for row in work.leased(job) if row.chunk_id != late.pk]
    assert {row.chunk_id for row in leased} == {chunk.pk for chunk in done}
    work.take(*map(work.report_of, leased), now=now + 2 * SECOND)
    factories.announce(job, nodes=nodes[2:])
    Job.objects.filter(pk=job.pk).update(announced_at=now)
    return job


def hedges(job):
    return list(job.replicas.filter(purpose="hedge"))


def test_work_that_is_not_late_is_left_alone(late_job, now):
    assert hedging.hedge(now=now + 3 * SECOND) == 0


def test_a_late_chunk_goes_to_one_more_node_once(late_job, now):
    late = now + 4 * SECOND

    assert hedging.hedge(now=late) == 1
    made = scheduling.assign_ready(now=late)

    (hedge,) = hedges(late_job)
    assert made == [hedge.pk]
    assert hedging.hedge(now=late + SECOND) == 0
    assert work.unsound() == []


def test_who_answers_first_decides_and_the_late_one_is_paid_by_the_reserve(late_job, now):
    late = now + 4 * SECOND
    hedging.hedge(now=late)
    scheduling.assign_ready(now=late)
    (hedge,) = hedges(late_job)
    first = work.leased(late_job)[0]

    work.take(work.report_of(hedge), work.report_of(first), now=late)

    late_job.refresh_from_db()
    assert (late_job.state, late_job.items_provisional) == ("finished", 5)
    assert not Replica.objects.filter(state="leased").exists()
    assert work.unsound() == []


def test_a_job_with_work_to_give_out_is_not_hedged(late_job, now):
    Chunk.objects.filter(job=late_job, state="open").update(wanted=3)

    assert hedging.hedge(now=now + 60 * SECOND) == 0


def test_before_anything_is_usual_nothing_is_late(client_user, nodes, now):
    work.start(client_user, nodes[:2], images=2)

    assert hedging.hedge(now=now + 60 * SECOND) == 0


@pytest.mark.parametrize(("count", "expected"), [(3, None), (4, 3), (8, 6), (100, 75)])
def test_three_quarters_took_no_longer(count, expected):
    found = hedging.percentile([number * SECOND for number in range(1, count + 1)])

    assert found == (None if expected is None else expected * SECOND)
