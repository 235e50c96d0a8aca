"""A new job is tried on one chunk; what fails there costs its client nothing."""

from __future__ import annotations

import pytest

from payments import queries as money
from tasks import jobs, scheduling
from tasks.models import Chunk, Job, Replica
from tasks.verification import smoke
from tests import factories
from tests.tasks import work


@pytest.fixture
def tried(client_user, settings):
    """A job of three chunks whose first one is out with three nodes."""
    settings.SMOKE_CHUNKS_MIN = 3
    return work.start(client_user, factories.make_fleet(3, slots=4), images=3)


def state_of(job) -> tuple[str, str]:
    job.refresh_from_db()
    return job.state, job.smoke


def test_only_the_first_chunk_is_given_out_to_three_nodes_and_the_referee(tried, now):
    granted = tried.chunks.order_by("index").values_list("granted", flat=True)

    assert (list(granted), tried.smoke) == ([3, 0, 0], "running")
    assert tried.chunks.get(index=0).referee_asked_at == now


def test_a_trial_that_agrees_releases_the_rest(tried, now):
    work.take(*map(work.report_of, work.leased(tried)))
    assert scheduling.assign_ready(now=now) == []

    work.referee_says(tried.chunks.get(index=0), work.FOUND)

    assert state_of(tried) == ("running", "passed")
    assert scheduling.assign_ready(now=now) != []
    assert work.unsound() == []


def test_a_trial_the_referee_cannot_compute_ends_the_job_uncharged(tried):
    work.take(*map(work.report_of, work.leased(tried)))

    work.referee_says(tried.chunks.get(index=0), error="model_died")

    assert state_of(tried) == ("failed", "failed")
    assert money.escrow("job", tried.pk).returned_minor == tried.price_minor
    assert tried.reason == "smoke_failed"
    assert work.unsound() == []


def test_one_liar_among_three_does_not_end_the_job(tried):
    liar, *others = work.leased(tried)
    work.take(work.report_of(liar, work.ELSEWHERE), *map(work.report_of, others))

    work.referee_says(tried.chunks.get(index=0), work.FOUND)

    assert state_of(tried) == ("running", "passed")
    assert work.unsound() == []


def test_a_job_cancelled_during_its_trial_is_left_as_it_ended(tried, now):
    work.take(*map(work.report_of, work.leased(tried)))
    jobs.cancel(job_id=tried.pk, now=now)
    first = tried.chunks.get(index=0)
    assert first.state == Chunk.State.PROVISIONAL

    work.referee_says(first, error="model_died")

    assert state_of(tried)[0] == "cancelled"
    assert work.unsound() == []


@pytest.mark.parametrize(
    ("chunks", "mode", "expected"), [(2, "normal", False), (3, "normal", True), (3, "race", False)]
)
def test_large_jobs_are_tried(db, settings, chunks, mode, expected):
    settings.SMOKE_CHUNKS_MIN = 3

    assert smoke.is_needed(model=factories.make_model(), chunks=chunks, mode=mode) is expected


def test_a_clients_own_model_is_tried_until_it_is_known(client_user):
    model = factories.make_model(owner=client_user, visibility="private")
    assert smoke.is_needed(model=model, chunks=1, mode="normal")
    factories.make_job(client_user, model=model.pk)

    Job.objects.update(state=Job.State.FINISHED)

    assert not smoke.is_needed(model=model, chunks=1, mode="normal")


@pytest.fixture
def start_untried(client_user, settings):
    """Return a function that starts a job of 24 chunks of one picture, all of it at once."""
    settings.SMOKE_CHUNKS_MIN = 100
    model = factories.make_model(image_ms=10_000)  # as slow as chunks of one picture want
    return lambda nodes: work.start(client_user, nodes, model=model.pk, images=24)


def fail(job, nodes, *, count: int) -> None:
    """Let these nodes fail at `count` pieces of work in the same way."""
    mine = {node.pk for node in nodes}
    for replica in [row for row in work.leased(job) if row.node_id in mine][:count]:
        work.take(work.report_of(replica, status="failed", reason="model_died", answers=[]))


def test_a_job_whose_nodes_fail_alike_is_paused_and_its_client_told_and_not_charged(
    start_untried, now
):
    nodes = factories.make_fleet(3, slots=32)
    job = start_untried(nodes)

    for node in nodes:
        fail(job, [node], count=8)

    assert Replica.objects.filter(error_code="model_died").count() == 24
    assert state_of(job) == ("paused", "none")
    assert job.reason == "app_errors"
    event = job.events.get(code="app_errors")
    assert event.detail == {"reason": "app_errors", "error": "model_died", "count": 20}
    assert money.escrow("job", job.pk).spent_minor == 0
    assert scheduling.assign_ready(now=now) == []
    assert work.unsound() == []


def test_one_owner_alone_pauses_nothing_however_often_its_node_fails(start_untried):
    nodes = factories.make_fleet(2, slots=64)
    job = start_untried(nodes)

    fail(job, nodes[:1], count=24)

    assert Replica.objects.filter(error_code="model_died").count() == 24
    assert state_of(job)[0] == "running"
    assert not job.events.filter(code="app_errors").exists()
    assert work.unsound() == []
