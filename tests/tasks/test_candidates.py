"""What the scheduler chooses from: which jobs, which chunks, which nodes, and what it knows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tasks import candidates, leases
from tasks.models import Apart, Chunk, Credibility, Job, Replica
from tasks.reasons import ReplicaReason
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)
_S = Replica.State


def end(replica, state=_S.LOST, reason=ReplicaReason.LEASE_EXPIRED, *, now):
    assert leases.end(replica=replica, state=state, reason=reason, now=now)


def ready_of(job):
    """Return the job's first chunk as the scheduler sees it."""
    return candidates.window([job]).ready[0]


@pytest.fixture
def job(client_user):
    """A job whose only chunk is out with two nodes."""
    return work.start(client_user, factories.make_fleet(2))


def want_more(job, count: int = 4) -> None:
    Chunk.objects.filter(job=job).update(wanted=count)


# Jobs


@pytest.mark.parametrize(
    ("fields", "is_found"),
    [
        ({}, True),
        ({"state": "running"}, True),
        ({"state": "paused"}, False),
        ({"state": "cancelled", "finished_at": work.NOW}, False),
        ({"smoke": "failed", "state": "failed", "finished_at": work.NOW}, False),
    ],
)
def test_open_jobs_with_something_to_give_out_are_looked_at(client_user, fields, is_found):
    job = factories.make_job(client_user)
    Job.objects.update(**fields)

    assert [each.pk for each in candidates.jobs_with_work()] == [job.pk] * is_found


def test_a_job_all_of_which_is_out_is_not_looked_at(job):
    assert candidates.jobs_with_work() == []
    want_more(job)
    assert [each.pk for each in candidates.jobs_with_work()] == [job.pk]


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_checks_of_accepted_chunks_go_on_after_the_job(job, now, state):
    Job.objects.update(state=state, finished_at=now)
    Chunk.objects.update(state="provisional", decided_at=now, settles_at=now)
    assert candidates.jobs_with_work() == []

    want_more(job)

    assert [each.pk for each in candidates.jobs_with_work()] == [job.pk]
    assert ready_of(Job.objects.get()).needs_ack is False


def test_jobs_come_by_priority_then_those_passed_over_last_then_by_age(client_user, now):
    late, early, passed, urgent = [
        factories.make_job(client_user, now=now + age * SECOND) for age in (3, 2, 1, 9)
    ]
    Job.objects.filter(pk=urgent.pk).update(priority=2)
    Job.objects.filter(pk=passed.pk).update(passed_over_at=now)

    order = [job.pk for job in candidates.jobs_with_work()]

    assert order == [urgent.pk, early.pk, late.pk, passed.pk]
    assert [job.pk for job in candidates.jobs_with_work(job_ids=[late.pk])] == [late.pk]


# Chunks


def test_while_a_job_is_tried_its_first_chunk_alone_counts(client_user, settings):
    settings.SMOKE_CHUNKS_MIN = 3
    model = factories.make_model(image_ms=10_000)  # as slow as chunks of one picture want
    job = factories.make_job(client_user, images=3, model=model.pk)

    window = candidates.window([job])

    assert [chunk.index for chunk in window.chunks] == [0]


def test_whoever_has_a_chunk_or_answered_it_is_not_asked_again(job):
    work.take(work.report_of(work.leased(job)[0]))
    want_more(job)

    ready = ready_of(job)

    assert ready.tried == set(job.replicas.values_list("operator", flat=True))
    assert (ready.lost, ready.is_new, ready.is_urgent) == (frozenset(), False, False)
    assert (ready.granted, ready.wanted) == (2, 4)
    assert ready.attempts_left == candidates.acceptance.ATTEMPTS_MAX - 2


def test_whoever_lost_a_chunk_may_have_it_again_and_it_is_urgent(job, now):
    lost, _ = work.leased(job)
    end(lost, now=now)

    ready = ready_of(job)

    assert lost.operator_id not in ready.tried
    assert (ready.lost, ready.is_urgent) == ({lost.operator_id}, True)


def test_what_was_handed_back_untouched_is_no_attempt(job, now):
    end(work.leased(job)[0], _S.FAILED, ReplicaReason.HANDED_BACK, now=now)

    assert ready_of(job).attempts_left == candidates.acceptance.ATTEMPTS_MAX - 1


def test_an_owner_who_lost_a_chunk_three_times_is_asked_no_more(client_user, now):
    (node,) = factories.make_fleet(1)
    job = factories.make_job(client_user)
    for number in range(candidates.AGAIN_MAX):
        assert node.owner_id not in ready_of(job).tried
        Replica.objects.create(
            job=job, chunk=job.chunks.get(), node=node, operator_id=node.owner_id,
            nonce=f"{number:032}", state=_S.LOST, reason=ReplicaReason.LEASE_EXPIRED,
            assigned_at=now, lease_expires_at=now, reward_minor=1, fee_minor=0,
        )  # fmt: skip

    assert node.owner_id in ready_of(job).tried


def test_networks_count_of_those_who_have_it_or_answered(client_user, now):
    fleet = [factories.make_fleet(1, network=name)[0] for name in ("a", "b")]
    job = work.start(client_user, fleet)
    lost, other = work.leased(job)
    end(lost, now=now)

    assert ready_of(job).networks == {other.node.network}


def test_an_answer_counts_by_its_checks_then_and_who_is_at_work_by_those_now(client_user):
    job = work.start(client_user, factories.make_fleet(2), target_error="1e-4")
    answered, at_work = work.leased(job)
    record = Credibility.objects.create(node=answered.node, model=job.model, checks_tenths=30)
    work.take(work.report_of(answered))
    record.checks_tenths = 900
    record.save()
    Credibility.objects.create(node=at_work.node, model=job.model, checks_tenths=70)

    assert ready_of(job).checks == (3.0, 7.0)


def test_of_many_jobs_each_has_a_few_chunks_in_the_window(client_user, monkeypatch):
    monkeypatch.setattr(candidates, "CHUNKS_MAX", 6)
    monkeypatch.setattr(candidates, "CHUNKS_OF_JOB_MIN", 2)
    model = factories.make_model(image_ms=10_000)
    jobs = [factories.make_job(client_user, images=5, model=model.pk) for _ in range(2)]

    window = candidates.window(jobs)

    assert [chunk.index for chunk in window.chunks] == [0, 1, 2, 0, 1, 2]
    assert set(window.jobs) == {job.pk for job in jobs}


@pytest.mark.parametrize(
    ("places", "count", "is_cut"), [(0, 1, True), (2, 2, True), (5, 5, True), (9, 5, False)]
)
def test_no_more_chunks_are_read_than_there_are_places(client_user, places, count, is_cut):
    model = factories.make_model(image_ms=10_000)
    job = factories.make_job(client_user, images=5, model=model.pk)

    window = candidates.window([job], places=places)

    assert [chunk.index for chunk in window.chunks] == list(range(count))
    assert window.is_cut is is_cut


def test_no_job_has_no_window():
    assert candidates.window([]) == candidates.Window(chunks=[], ready=[], jobs={})


# Nodes


def nodes_for(job, now, **options):
    return {each.id: each for each in candidates.free_nodes([job], now=now, **options)}


def test_nodes_that_acknowledged_and_have_a_place_are_candidates(client_user, now):
    full, free, silent, away = factories.make_fleet(4)
    other = work.start(client_user, [full], target_error="1e-2")
    assert [row.node_id for row in work.leased(other)] == [full.pk]
    away.last_seen_at = now - timedelta(hours=1)
    away.save()
    job = factories.make_job(client_user)
    factories.announce(job, nodes=[full, free, away])

    found = nodes_for(job, now)

    assert silent.pk not in found
    assert set(found) == {free.pk}
    assert (found[free.pk].owner, found[free.pk].free) == (free.owner_id, 1)
    assert found[free.pk].jobs == {job.pk}
    assert nodes_for(job, now, node_ids=[away.pk]) == {}


def test_what_is_known_of_a_node_is_its_record_its_quota_and_its_models(client_user, now):
    known, new, cached = factories.make_fleet(3, slots=4)
    model = factories.make_model()
    Credibility.objects.create(
        node=known, model=model, checks_tenths=205, quota=3, image_ms=40.0, state="banned"
    )
    cached.cached_models = [model.blob_id]
    cached.save()
    other = factories.make_job(client_user, model=model.pk)
    Credibility.objects.update(state="trusted")
    factories.announce(other, nodes=[known])
    work.scheduling.assign_ready(now=now)
    Credibility.objects.update(state="banned")
    job = factories.make_job(client_user, model=model.pk)
    factories.announce(job, nodes=[known, new, cached])

    found = nodes_for(job, now)

    record = found[known.pk].records[model.pk]
    assert (record.checks, record.quota_left, record.is_barred) == (20.5, 2, True)
    assert (record.image_ms, record.has_model) == (40.0, False)
    assert found[new.pk].records == {}
    assert found[cached.pk].records[model.pk].has_model


def test_checks_of_ended_jobs_go_to_whoever_knows_the_model(job, now):
    (stranger,) = factories.make_fleet(1)
    assert stranger.pk not in nodes_for(job, now)
    Credibility.objects.create(node=stranger, model=job.model)
    assert stranger.pk not in nodes_for(job, now)

    Job.objects.update(state="finished", finished_at=now)
    job.refresh_from_db()

    assert stranger.pk in nodes_for(job, now)


@pytest.mark.parametrize(
    ("state", "until", "is_barred"),
    [
        ("watched", None, False),
        ("quarantined", None, True),
        ("quarantined", work.NOW + SECOND, True),
        ("quarantined", work.NOW, False),
        ("banned", None, True),
        ("banned", work.NOW - SECOND, True),
    ],
)
def test_a_quarantine_ends_and_a_ban_does_not(state, until, is_barred, now):
    row = Credibility(state=state, barred_until=until)

    assert candidates.is_barred(row, now=now) is is_barred


def test_places_are_counted_under_a_lock(job, now):
    node = work.leased(job)[0].node
    (idle,) = factories.make_fleet(1, slots=5)

    with transaction.atomic():
        assert candidates.lock_free([node.pk, idle.pk]) == {node.pk: 0, idle.pk: 5}


def test_leases_are_counted_for_each_job_and_each_client(job, client_user, now):
    other = work.start(client_user, factories.make_fleet(1))

    assert candidates.held([job, other]) == {job.pk: 2, other.pk: 1, client_user.pk: 3}


def test_pairs_kept_apart_are_those_of_owners_at_hand(job, now):
    one, two, three = sorted(factories.make_fleet(3), key=lambda node: node.owner_id)
    for first, second in [(one, two), (two, three)]:
        Apart.objects.create(first=first.owner, second=second.owner, created_at=now)
    factories.announce(job, nodes=[one])

    found = candidates.free_nodes([job], now=now)

    assert candidates.apart(found) == {(one.owner_id, two.owner_id)}
