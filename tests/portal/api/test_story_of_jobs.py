"""Each word for what happened to a job: brought about for real, read by its client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tasks import jobs, leases, outgoing, scheduling
from tasks.models import Job
from tasks.reasons import EventCode
from tasks.verification import acceptance, finality, verdicts
from tests import factories
from tests.portal.api import calls
from tests.tasks import refusals, work
from tests.tasks.verification import trust

NOW = work.NOW
WEEK = timedelta(days=7)


def agreed(client) -> Job:
    """Return a job whose only chunk two nodes have answered alike."""
    job = work.start(client, factories.make_fleet(2))
    work.take(*map(work.report_of, work.leased(job)))
    return job


def tried(client, settings) -> Job:
    """Return a job of three chunks whose first one three nodes have answered alike."""
    settings.SMOKE_CHUNKS_MIN = 3
    job = work.start(client, factories.make_fleet(3, slots=4), images=3)
    work.take(*map(work.report_of, work.leased(job)))
    return job


def fail(job: Job) -> None:
    replica = work.leased(job)[-1]
    work.take(work.report_of(replica, status="failed", reason="model_died", answers=[]))


def caught(client) -> Job:
    """Return a job of two chunks accepted on the word of a node that was caught then."""
    job = trust.accepted_alone(client, factories.make_fleet(5, slots=4), images=2)
    trust.catch(job.replicas.order_by("pk")[0])
    return job


def submitted(client, settings) -> Job:
    return factories.make_job(client)


def announced(client, settings) -> Job:
    job = factories.make_job(client)
    outgoing.send_announcement(job_id=job.pk)
    return job


def started(client, settings) -> Job:
    return work.start(client, factories.make_fleet(2))


def waiting(client, settings) -> Job:
    job = factories.make_job(client)
    scheduling.assign_ready(now=NOW)
    return job


def paused(client, settings) -> Job:
    return jobs.pause(job_id=factories.make_job(client).pk, now=NOW)


def resumed(client, settings) -> Job:
    return jobs.resume(job_id=paused(client, settings).pk, now=NOW)


def cancelled(client, settings) -> Job:
    return jobs.cancel(job_id=factories.make_job(client).pk, now=NOW)


def lease_lost(client, settings) -> Job:
    job = work.start(client, factories.make_fleet(2))
    leases.expire(now=NOW + scheduling.LEASE + timedelta(seconds=1))
    return job


def disagreement(client, settings) -> Job:
    return refusals.disputed(client, factories.make_fleet(3)).job


def chunk_failed(client, settings) -> Job:
    job = work.start(client, factories.make_fleet(4))
    for _ in range(acceptance.ERRORS_MAX):
        fail(job)
        scheduling.assign_ready(now=NOW)
    work.referee_says(job.chunks.get(), error="model_died")
    return job


def rechecking(client, settings) -> Job:
    return caught(client)


def result_corrected(client, settings) -> Job:
    job = caught(client)
    scheduling.assign_ready(now=NOW)
    work.take(*(work.report_of(row, work.ELSEWHERE) for row in work.leased(job)))
    return job


def result_withdrawn(client, settings) -> Job:
    """Nobody confirms what the caught node said, and the referee cannot tell."""
    job = trust.accepted_alone(client, factories.make_fleet(4), checks=150)
    trust.catch(job.replicas.get())
    verdicts.advance(chunk_id=job.chunks.get().pk, now=NOW + WEEK)
    work.referee_says(job.chunks.get(), error="model_died", now=NOW + WEEK)
    return job


def settled(client, settings) -> Job:
    job = agreed(client)
    finality.settle(now=NOW + WEEK)
    return job


def smoke_passed(client, settings) -> Job:
    job = tried(client, settings)
    work.referee_says(job.chunks.get(index=0), work.FOUND)
    return job


def smoke_failed(client, settings) -> Job:
    job = tried(client, settings)
    work.referee_says(job.chunks.get(index=0), error="model_died")
    return job


def app_errors(client, settings) -> Job:
    return work.fail_alike(client)


def finished(client, settings) -> Job:
    return agreed(client)


STORIES: dict[EventCode, Callable[..., Job]] = {code: globals()[code.value] for code in EventCode}


@pytest.mark.parametrize("code", EventCode, ids=str)
def test_the_client_reads_what_happened(client_api, client_user, settings, code):
    job = STORIES[code](client_user, settings)

    told = calls.get(client_api, f"jobs/{job.pk}/events/").json()["results"]

    texts = {event["code"]: event["text"] for event in told}
    assert texts.get(code.value) == code.label
    assert told[-1]["code"] == "submitted"
