"""A node may hold more with each success and less with each failure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import leases, quotas, scheduling
from tasks.models import Credibility, Job
from tests import factories
from tests.tasks import work

LATE = scheduling.LEASE + timedelta(seconds=1)


def quota_of(node) -> int:
    return Credibility.objects.get(node=node).quota


@pytest.fixture
def nodes():
    return factories.make_fleet(2, slots=8)


def test_an_accepted_answer_doubles_what_its_node_may_hold(client_user, nodes):
    job = work.start(client_user, nodes)

    work.take(*map(work.report_of, work.leased(job)))

    assert [quota_of(node) for node in nodes] == [8, 8]


@pytest.mark.parametrize(("quota", "expected"), [(1500, 2000), (2000, 2000)])
def test_there_is_a_most(client_user, nodes, quota, expected):
    job = work.start(client_user, nodes)
    for node in nodes:
        Credibility.objects.create(node=node, model=job.model, quota=quota)

    work.take(*map(work.report_of, work.leased(job)))

    assert [quota_of(node) for node in nodes] == [expected] * 2


@pytest.mark.parametrize(("quota", "expected"), [(8, 6), (3, 2), (1, 1)])
def test_an_error_takes_a_quarter_and_leaves_one(client_user, nodes, quota, expected):
    job = work.start(client_user, nodes)
    first, _ = work.leased(job)
    Credibility.objects.create(node=first.node, model=job.model, quota=quota)

    work.take(work.report_of(first, status="failed", reason="model_died", answers=[]))

    assert quota_of(first.node) == expected


def test_a_lost_lease_takes_a_quarter_once(client_user, nodes, now):
    work.start(client_user, nodes)

    assert leases.expire(now=now + LATE) == 2
    assert leases.expire(now=now + LATE) == 0

    assert [quota_of(node) for node in nodes] == [3, 3]


def test_what_is_handed_back_costs_nothing(client_user, nodes):
    job = work.start(client_user, nodes)
    first, _ = work.leased(job)

    work.take(work.report_of(first, status="handed_back", answers=[]))

    assert not Credibility.objects.filter(node=first.node).exists()


def test_a_node_gets_no_more_than_its_quota_and_the_job_says_why(client_user, now):
    nodes = factories.make_fleet(2, slots=8)
    job = factories.make_job(client_user, images=4)
    for node in nodes:
        Credibility.objects.create(node=node, model=job.model, quota=2)
    factories.announce(job, nodes=nodes)

    assert len(scheduling.assign_ready(now=now)) == 4
    assert scheduling.assign_ready(now=now) == []

    assert Job.objects.get(pk=job.pk).reason == "quota"
    assert quotas.QUOTA_MAX == 2000
