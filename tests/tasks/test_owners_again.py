"""Whoever lost a chunk may have it again when nobody else is there; answers count once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import candidates, leases, scheduling
from tasks.models import Node, Replica
from tests import factories
from tests.tasks import work

pytestmark = pytest.mark.django_db


def lose_all(*, now):
    """Let all leases run out, of nodes that are heard but do not name their work."""
    later = now + scheduling.LEASE + timedelta(seconds=1)
    Node.objects.update(last_seen_at=later)
    leases.expire(now=later)
    return later


def owners_of(job, **filters):
    rows = Replica.objects.filter(job=job, **filters).order_by("pk")
    return list(rows.values_list("operator_id", flat=True))


def test_with_two_owners_a_lost_chunk_goes_to_the_same_ones_again(client_user, now):
    nodes = factories.make_fleet(2, last_seen_at=now)
    job = factories.make_job(client_user)
    factories.announce(job, nodes=nodes)
    scheduling.assign_ready(now=now)

    again = lose_all(now=now)
    scheduling.assign_ready(now=again)

    owners = {node.owner_id for node in nodes}
    assert set(owners_of(job, state=Replica.State.LOST)) == owners
    assert set(owners_of(job, state=Replica.State.LEASED)) == owners


def test_an_owner_who_never_had_it_comes_first(client_user, now):
    nodes = factories.make_fleet(3, last_seen_at=now)
    job = factories.make_job(client_user)
    factories.announce(job, nodes=nodes)
    scheduling.assign_ready(now=now)
    fresh = {node.owner_id for node in nodes} - set(owners_of(job))

    again = lose_all(now=now)
    scheduling.assign_ready(now=again)

    assert fresh <= set(owners_of(job, state=Replica.State.LEASED))


def test_an_owner_who_loses_it_three_times_is_not_asked_again(client_user, now):
    nodes = factories.make_fleet(2, last_seen_at=now)
    job = factories.make_job(client_user)
    factories.announce(job, nodes=nodes)
    for _ in range(candidates.AGAIN_MAX):
        scheduling.assign_ready(now=now)
        now = lose_all(now=now)

    scheduling.assign_ready(now=now)

    assert owners_of(job, state=Replica.State.LEASED) == []
    assert len(owners_of(job, state=Replica.State.LOST)) == 2 * candidates.AGAIN_MAX


def test_a_late_answer_takes_the_place_of_the_newer_lease(client_user, now):
    nodes = factories.make_fleet(2, last_seen_at=now)
    job = work.start(client_user, nodes)
    old = work.leased(job)[0]
    again = lose_all(now=now)
    scheduling.assign_ready(now=again)
    new = job.replicas.get(operator=old.operator_id, state=Replica.State.LEASED)

    decisions = work.take(work.report_of(old), now=again)

    old.refresh_from_db()
    new.refresh_from_db()
    assert [decision.action for decision in decisions] == ["wait"]
    assert (old.state, new.state, new.reason) == (
        Replica.State.REPORTED,
        Replica.State.FAILED,
        "handed_back",
    )
    assert work.take(work.report_of(new), now=again) == []
    assert work.unsound() == []


def test_an_owner_who_answered_by_the_newer_lease_is_not_heard_twice(client_user, now):
    nodes = factories.make_fleet(2, last_seen_at=now)
    job = work.start(client_user, nodes)
    old = work.leased(job)[0]
    again = lose_all(now=now)
    scheduling.assign_ready(now=again)
    new = job.replicas.get(operator=old.operator_id, state=Replica.State.LEASED)
    work.take(work.report_of(new), now=again)

    assert work.take(work.report_of(old), now=again) == []

    old.refresh_from_db()
    assert old.state == Replica.State.LOST
    assert work.unsound() == []
