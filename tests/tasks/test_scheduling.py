"""Who gets what: distinct owners, free places, never one's own work."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db.models import F

from tasks import candidates, fleet, jobs, leases, scheduling, waiting
from tasks.models import Chunk, Job, Node, Replica
from tasks.reasons import ReplicaReason
from tests import factories
from tests.tasks import work


def ready_job(owner, nodes, **fields) -> Job:
    job = factories.make_job(owner, **fields)
    factories.announce(job, nodes=nodes)
    return job


def lose(replica, now):
    reason = ReplicaReason.LEASE_EXPIRED
    return leases.end(replica=replica, state=Replica.State.LOST, reason=reason, now=now)


def reason_of(job) -> str:
    return Job.objects.get(pk=job.pk).reason


def test_a_chunk_goes_to_nodes_of_different_owners(client_user, operator, now):
    first, second = factories.make_node(operator), factories.make_node(operator)
    (other,) = factories.make_fleet(1)
    job = ready_job(client_user, [first, second, other])

    made = scheduling.assign_ready(now=now)

    replicas = Replica.objects.filter(pk__in=made)
    assert len(made) == job.chunks.get().granted == 2
    assert {row.operator_id for row in replicas} == {operator.pk, other.owner_id}
    assert Job.objects.get().state == Job.State.RUNNING


def test_a_replica_fixes_what_it_earns_and_until_when_it_is_leased(client_user, now):
    ready_job(client_user, factories.make_fleet(1), images=4)

    (made,) = scheduling.assign_ready(now=now)

    replica = Replica.objects.get(pk=made)
    assert (replica.reward_minor, replica.fee_minor) == (50_000, 5_000)
    assert (replica.assigned_at, replica.lease_expires_at) == (now, now + scheduling.LEASE)
    assert len(replica.nonce) == 32


def test_a_client_never_computes_their_own_job(stranger, now):
    own = factories.make_node(stranger, slots=8)
    job = ready_job(stranger, [own])
    told = {"tasks.Job": None, "tasks.JobEvent": None}
    before = {**work.everything(), **told}

    assert scheduling.assign_ready(now=now) == []

    assert reason_of(job) == "no_capable_nodes"
    assert {**work.everything(), **told} == before


def test_a_node_holds_no_more_than_its_slots(client_user, now):
    nodes = factories.make_fleet(2, slots=3)
    ready_job(client_user, nodes, images=8)

    made = scheduling.assign_ready(now=now)

    assert len(made) == 6
    held = [node.replicas.filter(state=Replica.State.LEASED).count() for node in nodes]
    assert held == [3, 3]


def test_the_first_chunk_is_filled_before_the_next(client_user, now):
    ready_job(client_user, factories.make_fleet(3), images=3)

    scheduling.assign_ready(now=now)

    granted = Chunk.objects.order_by("index").values_list("granted", flat=True)
    assert list(granted) == [2, 1, 0]


def test_a_node_with_the_model_at_hand_comes_first(client_user, now):
    nodes = factories.make_fleet(3)
    model = factories.make_model()
    Node.objects.filter(pk__in=[nodes[1].pk, nodes[2].pk]).update(cached_models=[model.blob_id])
    ready_job(client_user, nodes, model=model.pk)

    scheduling.assign_ready(now=now)

    chosen = set(Replica.objects.values_list("node_id", flat=True))
    assert chosen == {nodes[1].pk, nodes[2].pk}


@pytest.mark.parametrize(
    "fields",
    [
        {"state": Node.State.PAUSED},
        {"state": Node.State.SUSPENDED},
        {"state": Node.State.RETIRED},
        {"reason": "battery"},
        {"slots": 0},
        {"last_seen_at": None},
        {"last_seen_at": work.NOW - fleet.ONLINE - timedelta(seconds=1)},
    ],
    ids=["paused", "suspended", "retired", "says no", "no slots", "never seen", "silent"],
)
def test_a_node_that_cannot_work_gets_nothing(client_user, operator, now, fields):
    ready_job(client_user, [factories.make_node(operator, **fields)])

    assert scheduling.assign_ready(now=now) == []
    assert Chunk.objects.get().granted == 0


@pytest.mark.parametrize(("seconds", "count"), [(32, 2), (34, 0)])
def test_a_node_at_work_that_missed_two_heartbeats_gets_no_more(client_user, now, seconds, count):
    (node,) = factories.make_fleet(1, slots=3)
    ready_job(client_user, [node])
    assert len(scheduling.assign_ready(now=now)) == 1
    ready_job(client_user, [node], images=2)

    assert len(scheduling.assign_ready(now=now + timedelta(seconds=seconds))) == count


def test_an_idle_node_may_be_silent_for_as_long_as_it_beats(client_user, now):
    ready_job(client_user, factories.make_fleet(1))

    assert len(scheduling.assign_ready(now=now + timedelta(seconds=200))) == 1


def test_a_node_that_has_not_acknowledged_gets_nothing(client_user, operator, now):
    factories.make_node(operator)
    job = ready_job(client_user, [])

    assert scheduling.assign_ready(now=now) == []
    assert reason_of(job) == "no_capable_nodes"


def test_a_job_waits_because_all_are_busy(client_user, now):
    nodes = factories.make_fleet(2)
    work.start(client_user, nodes)
    second = ready_job(client_user, nodes)

    assert scheduling.assign_ready(now=now) == []

    assert reason_of(second) == "nodes_busy"


def test_a_job_waits_because_a_check_needs_another_owner(client_user, operator, now):
    job = work.start(client_user, [factories.make_node(operator, slots=4)])

    assert scheduling.assign_ready(now=now) == []

    assert reason_of(job) == "owners_exhausted"


def test_a_job_whose_answers_wait_for_others_is_verifying(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    work.take(work.report_of(work.leased(job)[0]))

    waiting.explain_at_work(now=now)

    assert reason_of(job) == "verifying"


def test_a_job_at_work_gives_no_reason(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))

    scheduling.assign_ready(now=now)

    assert reason_of(job) == ""


def test_a_reason_is_taken_back_when_a_node_comes(client_user, operator, now):
    job = ready_job(client_user, [])
    scheduling.assign_ready(now=now)
    factories.announce(job, nodes=[factories.make_node(operator)])

    assert len(scheduling.assign_ready(now=now)) == 1

    assert (reason_of(job), Job.objects.get().state) == ("", "running")


def test_scheduling_again_changes_nothing(client_user, now):
    work.start(client_user, factories.make_fleet(2))
    before = work.everything()

    assert scheduling.assign_ready(now=now) == []

    assert work.everything() == before


def test_only_the_named_jobs_are_looked_at(client_user, now):
    nodes = factories.make_fleet(2)
    first, second = (ready_job(client_user, nodes) for _ in range(2))

    scheduling.assign_ready(now=now, job_ids=[second.pk])

    assert (len(work.leased(first)), len(work.leased(second))) == (0, 2)


def test_older_jobs_come_first(client_user, now):
    nodes = factories.make_fleet(2)
    younger = ready_job(client_user, nodes)
    older = ready_job(client_user, nodes, now=now - timedelta(hours=1))

    scheduling.assign_ready(now=now)

    assert (len(work.leased(older)), len(work.leased(younger))) == (2, 0)


@pytest.mark.parametrize("state", [Job.State.PAUSED, Job.State.CANCELLED])
def test_a_job_that_is_not_open_gets_nothing(client_user, now, state):
    job = ready_job(client_user, factories.make_fleet(2))
    {"paused": jobs.pause, "cancelled": jobs.cancel}[state](job_id=job.pk, now=now)

    assert scheduling.assign_ready(now=now) == []


def test_an_owner_who_gave_a_chunk_back_is_asked_three_times(client_user, operator, now):
    job = work.start(client_user, [factories.make_node(operator)])

    for _ in range(candidates.AGAIN_MAX):
        (replica,) = work.leased(job)
        work.take(work.report_of(replica, status="handed_back", answers=[]))
        scheduling.assign_ready(now=now)

    assert work.leased(job) == []
    assert reason_of(job) == "owners_exhausted"
    assert work.unsound() == []


def test_a_chunk_is_never_tried_by_more_owners_than_allowed(client_user, now):
    job = work.start(client_user, factories.make_fleet(10))

    for _ in range(10):
        for replica in work.leased(job)[1:]:
            lose(replica, now)
        scheduling.assign_ready(now=now)

    assert job.replicas.count() == 8
    assert len(work.leased(job)) == 1
    assert work.unsound() == []


def test_assignments_leave_after_commit(client_user, now, django_capture_on_commit_callbacks):
    ready_job(client_user, factories.make_fleet(2))

    with django_capture_on_commit_callbacks() as callbacks:
        made = scheduling.assign_ready(now=now)

    assert [callback.keywords for callback in callbacks] == [{"replica_ids": made}]


def test_chunks_that_may_not_go_to_whoever_is_free_hide_none_behind_them(
    client_user, operator, now
):
    model = factories.make_model(image_ms=10_000)  # as slow as chunks of one picture want
    first, second = (factories.make_node(operator, slots=slots) for slots in (3, 1))
    job = ready_job(client_user, [first], images=6, model=model.pk)
    assert len(scheduling.assign_ready(now=now)) == 3
    factories.announce(job, nodes=[second])

    (made,) = scheduling.assign_ready(now=now)

    assert Replica.objects.get(pk=made).chunk.index == 3


@pytest.mark.django_db(transaction=True)
def test_schedulers_side_by_side_never_give_out_more_than_wanted(now, side_by_side):
    nodes = factories.make_fleet(4, slots=12)
    job = ready_job(factories.make_user(), nodes, images=12, mode="race")

    answers = side_by_side(*[partial(scheduling.assign_ready, now=now)] * 4)

    made = [pk for answer in answers for pk in answer]
    assert len(made) == len(set(made)) == Replica.objects.count()
    assert not job.chunks.filter(granted__gt=F("wanted")).exists()
    scheduling.assign_ready(now=now)
    assert set(job.chunks.values_list("granted", flat=True)) == {3}
    assert work.unsound() == []
