"""Who is responsible, until when: renewed by heartbeats, lost in silence."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from tasks import leases, scheduling
from tasks.models import Node, Replica
from tasks.reasons import ReplicaReason
from tests import factories
from tests.tasks import work
from workers.protocol import messages
from workers.protocol.allowance import Allowance

LEASE = scheduling.LEASE
SECOND = timedelta(seconds=1)


@pytest.fixture
def job(client_user):
    return work.start(client_user, factories.make_fleet(2))


@pytest.fixture
def replica(job) -> Replica:
    return work.leased(job)[0]


def beat_of(replica: Replica, sent_at: datetime, **changes) -> messages.Heartbeat:
    fields = {
        "node": replica.node_id,
        "sent_at": sent_at,
        "running": [str(replica.pk)],
        "slots": 3,
        "reason": "",
        "cached_models": ["b" * 64],
        "numeric_class": "cpu",
        "software_version": "0.1.0",
    }
    return messages.Heartbeat(**{**fields, **changes})


def renew(*beats, now):
    with transaction.atomic():
        return leases.renew(beats, now=now)


def end(replica, now, *, state=Replica.State.FAILED, reason=ReplicaReason.NODE_ERROR):
    return leases.end(replica=replica, state=state, reason=reason, now=now)


def test_a_heartbeat_renews_the_named_lease_and_says_what_the_node_is(replica, now):
    later = now + timedelta(seconds=20)

    assert renew(beat_of(replica, later), now=later) == [replica.node_id]

    replica.refresh_from_db()
    assert (replica.lease_expires_at, replica.started_at) == (later + LEASE, later)
    node = Node.objects.get(pk=replica.node_id)
    assert (node.last_seen_at, node.heartbeat_sent_at, node.slots) == (later, later, 3)
    assert (node.numeric_class, node.software_version) == ("cpu", "0.1.0")
    assert node.cached_models == ["b" * 64]


def test_a_later_heartbeat_keeps_when_the_work_began(replica, now):
    renew(beat_of(replica, now), beat_of(replica, now + SECOND), now=now + SECOND)

    replica.refresh_from_db()
    assert replica.started_at == now + SECOND
    renew(beat_of(replica, now + 2 * SECOND), now=now + 2 * SECOND)
    replica.refresh_from_db()
    assert replica.started_at == now + SECOND


def test_a_heartbeat_names_only_the_nodes_own_leases(job, now):
    mine, other = work.leased(job)

    renew(beat_of(mine, now, running=[str(other.pk), "nonsense", "9" * 40]), now=now + SECOND)

    other.refresh_from_db()
    mine.refresh_from_db()
    assert (other.lease_expires_at, mine.lease_expires_at) == (now + LEASE, now + LEASE)


@pytest.mark.parametrize("age", [timedelta(0), SECOND], ids=["the same", "an older one"])
def test_a_replayed_heartbeat_changes_nothing(replica, now, age):
    renew(beat_of(replica, now + SECOND), now=now + SECOND)
    before = work.everything()

    assert renew(beat_of(replica, now + SECOND - age, slots=9), now=now + 9 * SECOND) == []

    assert work.everything() == before


@pytest.mark.parametrize("skew", [timedelta(seconds=601), timedelta(seconds=-601)])
def test_a_heartbeat_with_a_wrong_clock_is_shown_and_renews_nothing(replica, now, skew):
    before = Replica.objects.values().get(pk=replica.pk)

    assert renew(beat_of(replica, now + skew, slots=9), now=now) == []

    node = Node.objects.get(pk=replica.node_id)
    assert (node.reason, node.last_seen_at, node.slots) == ("clock_skew", now, 1)
    assert node.clock_skew_ms == skew.total_seconds() * 1000
    assert Replica.objects.values().get(pk=replica.pk) == before


def test_a_heartbeat_of_an_unknown_node_changes_nothing(replica, now):
    before = work.everything()

    assert renew(beat_of(replica, now, node="node_0"), now=now) == []

    assert work.everything() == before


def test_a_lease_that_ran_out_is_lost_and_its_place_is_free(job, replica, now):
    renew(beat_of(replica, now + SECOND), now=now + SECOND)

    assert leases.expire(now=now + LEASE) == 0
    assert leases.expire(now=now + LEASE + SECOND) == 1

    lost = job.replicas.get(state=Replica.State.LOST)
    assert (lost.reason, lost.reported_at) == ("lease_expired", now + LEASE + SECOND)
    assert lost.pk != replica.pk
    assert job.chunks.get().granted == 1
    assert job.events.filter(code="lease_lost").count() == 1
    assert work.unsound() == []


def test_a_node_that_was_silent_for_a_lease_gets_nothing_until_it_is_heard(client_user, now):
    silent, alive = factories.make_fleet(2, slots=1)
    work.start(client_user, [silent, alive], images=1)
    late = now + LEASE + SECOND
    Node.objects.filter(pk=alive.pk).update(last_seen_at=late - SECOND)

    assert leases.expire(now=late) == 2

    reasons = dict(Node.objects.values_list("pk", "reason"))
    assert (reasons[silent.pk], reasons[alive.pk]) == ("offline", "")
    assert scheduling.assign_ready(now=late, node_ids=[silent.pk]) == []
    lost = Replica.objects.get(node=silent)
    renew(beat_of(lost, late + SECOND), now=late + SECOND)
    assert len(scheduling.assign_ready(now=late + SECOND, node_ids=[silent.pk])) == 1


def test_expiring_twice_takes_nothing_twice(job, now):
    late = now + LEASE + SECOND
    assert leases.expire(now=late) == 2
    before = work.everything()

    assert leases.expire(now=late) == 0

    assert work.everything() == before


def test_a_lease_renewed_since_it_was_read_is_not_lost(replica, now):
    renew(beat_of(replica, now + SECOND), now=now + SECOND)
    before = work.everything()

    ended = end(replica, now, state=Replica.State.LOST, reason=ReplicaReason.LEASE_EXPIRED)

    assert not ended
    assert work.everything() == before


def test_the_lease_of_a_node_removed_meanwhile_is_lost_at_once(job, replica, now):
    Node.objects.filter(pk=replica.node_id).update(state=Node.State.RETIRED)

    assert leases.expire(now=now) == 1

    replica.refresh_from_db()
    assert (replica.state, replica.reason) == ("lost", "node_removed")
    assert work.unsound() == []


def test_ending_twice_frees_one_place(job, replica, now):
    assert end(replica, now)
    before = work.everything()

    assert not end(replica, now)

    assert work.everything() == before
    assert job.chunks.get().granted == 1


def test_only_numbers_are_assignments():
    assert leases.replica_ids(["7", "", "seven", "-1", "9" * 19, "0_1"]) == [7]


def renewed(beat, now, capture) -> list[dict]:
    """Take a heartbeat and return the arguments of what it makes the platform say."""
    with capture(execute=False) as callbacks, transaction.atomic():
        leases.renew([beat], now=now)
    return [callback.keywords for callback in callbacks]


def test_a_heartbeat_that_names_what_is_no_longer_leased_is_answered(
    replica, now, django_capture_on_commit_callbacks
):
    Replica.objects.filter(pk=replica.pk).update(state=Replica.State.LOST)

    said = renewed(beat_of(replica, now), now, django_capture_on_commit_callbacks)

    assert said == [{"replica_ids": [replica.pk]}]


def test_a_heartbeat_that_names_leased_work_needs_no_answer(
    replica, now, django_capture_on_commit_callbacks
):
    assert renewed(beat_of(replica, now), now, django_capture_on_commit_callbacks) == []


def test_another_nodes_work_is_never_withdrawn_by_a_heartbeat(
    job, now, django_capture_on_commit_callbacks
):
    mine, other = work.leased(job)
    Replica.objects.filter(pk=other.pk).update(state=Replica.State.REPORTED)
    beat = beat_of(mine, now, running=[str(other.pk), "9" * 18, "x"])

    assert renewed(beat, now, django_capture_on_commit_callbacks) == []


def test_a_node_behind_its_page_is_told_again(replica, now, django_capture_on_commit_callbacks):
    Node.objects.filter(pk=replica.node_id).update(settings_revision=3)

    behind = beat_of(replica, now, settings_revision=2)
    said = renewed(behind, now, django_capture_on_commit_callbacks)
    assert said == [{"node_ids": [replica.node_id]}]

    level = beat_of(replica, now + SECOND, settings_revision=3)
    assert renewed(level, now + SECOND, django_capture_on_commit_callbacks) == []
    assert Node.objects.get(pk=replica.node_id).settings_seen == 3


def test_a_profile_is_kept_until_the_next_one(replica, now):
    profile = messages.Profile(allowance=Allowance(cores=2), images_per_second=8.5)

    renew(beat_of(replica, now, profile=profile), now=now)
    renew(beat_of(replica, now + SECOND), now=now)

    assert Node.objects.get(pk=replica.node_id).profile == {
        "allowance": {"cores": 2},
        "images_per_second": 8.5,
    }
