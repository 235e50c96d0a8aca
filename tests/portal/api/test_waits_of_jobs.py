"""Each word for why a job waits or failed: brought about for real, read by its client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import pytest

from tasks import fleet, idleness, jobs, matching, scheduling, sweeps, waiting
from tasks.models import Job, Node
from tasks.operations import draining
from tasks.reasons import EventCode, JobReason
from tasks.verification import acceptance
from tests import factories
from tests.portal.api import calls
from tests.tasks import work

NOW = work.NOW


def give_out() -> None:
    """Let the scheduler look twice: what a first look leaves waits at the second."""
    scheduling.assign_ready(now=NOW)
    scheduling.assign_ready(now=NOW)


def acked(client, nodes: list[Node], **fields) -> Job:
    job = factories.make_job(client, **fields)
    factories.announce(job, nodes=nodes)
    return job


def fail(job: Job, *, error: str = "model_died") -> None:
    """Let the newest lease of the job end in an error."""
    replica = work.leased(job)[-1]
    work.take(work.report_of(replica, status="failed", reason=error, answers=[]))


def no_capable_nodes(client, settings) -> Job:
    factories.make_node(client)  # one's own does not count
    job = acked(client, [])
    give_out()
    return job


def nodes_busy(client, settings) -> Job:
    nodes = factories.make_fleet(2)
    work.start(client, nodes)
    job = acked(client, nodes)
    give_out()
    return job


def owners_exhausted(client, settings) -> Job:
    owner = factories.make_user("operator", is_person=True)
    job = acked(client, [factories.make_node(owner) for _ in range(2)])
    give_out()
    return job


def numeric_class_shortage(client, settings) -> Job:
    model = factories.make_model(is_class_pinned=True)
    nodes = factories.make_fleet(1, numeric_class="avx2")
    nodes += factories.make_fleet(1, numeric_class="avx512")
    job = acked(client, nodes, model=model.pk)
    give_out()
    return job


def quota(client, settings) -> Job:
    model = factories.make_model()
    nodes = factories.make_fleet(2, slots=4)
    for _ in range(3):  # 4 at one time, then 3, 2, 1
        job = work.start(client, nodes, model=model.pk)
        for _ in nodes:
            fail(job)
        jobs.cancel(job_id=job.pk, now=NOW)
    job = acked(client, nodes, model=model.pk, images=8)
    give_out()
    return job


def priority_queue(client, settings) -> Job:
    nodes = factories.make_fleet(2, slots=5)
    job = acked(client, nodes, images=20)
    Job.objects.filter(pk=job.pk).update(priority=2)
    acked(factories.make_user("client"), nodes, images=20)
    give_out()
    return job


def category_excluded(client, settings) -> Job:
    job = acked(client, factories.make_fleet(2, wishes={"client_categories": ["research"]}))
    give_out()
    return job


def platform_drained(client, settings) -> Job:
    draining.drain_platform(staff_id=factories.make_user("staff").pk, note="an upgrade", now=NOW)
    job = acked(client, factories.make_fleet(2))
    give_out()
    return job


def verifying(client, settings) -> Job:
    job = work.start(client, factories.make_fleet(2))
    work.take(work.report_of(work.leased(job)[0]))
    waiting.explain_at_work(now=NOW)
    return job


def referee(client, settings) -> Job:
    job = work.start(client, factories.make_fleet(8))
    while leased := work.leased(job):
        for number, replica in enumerate(leased):
            work.take(work.report_of(replica, work.ELSEWHERE if number % 2 else work.FOUND))
        scheduling.assign_ready(now=NOW)
    waiting.explain_at_work(now=NOW)
    return job


def smoke_failed(client, settings) -> Job:
    settings.SMOKE_CHUNKS_MIN = 3
    job = work.start(client, factories.make_fleet(3, slots=4), images=3)
    work.take(*map(work.report_of, work.leased(job)))
    work.referee_says(job.chunks.get(index=0), error="model_died")
    return job


def app_errors(client, settings) -> Job:
    return work.fail_alike(client)


def paused_by_client(client, settings) -> Job:
    return jobs.pause(job_id=factories.make_job(client).pk, now=NOW)


def nothing_agreed(client, settings) -> Job:
    job = work.start(client, factories.make_fleet(4))
    for _ in range(acceptance.ERRORS_MAX):
        fail(job)
        scheduling.assign_ready(now=NOW)
    work.referee_says(job.chunks.get(), error="model_died")
    return job


SITUATIONS: dict[JobReason, Callable[..., Job]] = {
    JobReason.NO_CAPABLE_NODES: no_capable_nodes,
    JobReason.NODES_BUSY: nodes_busy,
    JobReason.OWNERS_EXHAUSTED: owners_exhausted,
    JobReason.NUMERIC_CLASS_SHORTAGE: numeric_class_shortage,
    JobReason.QUOTA: quota,
    JobReason.PRIORITY_QUEUE: priority_queue,
    JobReason.CATEGORY_EXCLUDED: category_excluded,
    JobReason.PLATFORM_DRAINED: platform_drained,
    JobReason.VERIFYING: verifying,
    JobReason.REFEREE: referee,
    JobReason.SMOKE_FAILED: smoke_failed,
    JobReason.APP_ERRORS: app_errors,
    JobReason.PAUSED_BY_CLIENT: paused_by_client,
    JobReason.NOTHING_AGREED: nothing_agreed,
}
#: Waits that stand in the job's story, with the event that tells of them; the others come
#: and go too often.
TOLD = {
    JobReason.NO_CAPABLE_NODES: (EventCode.WAITING, "no_capable_nodes"),
    JobReason.OWNERS_EXHAUSTED: (EventCode.WAITING, "owners_exhausted"),
    JobReason.NUMERIC_CLASS_SHORTAGE: (EventCode.WAITING, "numeric_class_shortage"),
    JobReason.CATEGORY_EXCLUDED: (EventCode.WAITING, "category_excluded"),
    JobReason.PLATFORM_DRAINED: (EventCode.WAITING, "platform_drained"),
    JobReason.SMOKE_FAILED: (EventCode.SMOKE_FAILED, None),
    JobReason.APP_ERRORS: (EventCode.APP_ERRORS, "app_errors"),
    JobReason.PAUSED_BY_CLIENT: (EventCode.PAUSED, None),
    JobReason.NOTHING_AGREED: (EventCode.FINISHED, None),
}


@pytest.mark.parametrize("reason", JobReason, ids=str)
def test_the_client_reads_why_the_job_waits(client_api, client_user, settings, reason):
    job = SITUATIONS[reason](client_user, settings)

    shown = calls.get(client_api, f"jobs/{job.pk}/").json()

    assert (shown["reason"], shown["reason_text"]) == (reason.value, reason.label)


@pytest.mark.parametrize("reason", TOLD, ids=str)
def test_the_jobs_story_tells_of_it(client_api, client_user, settings, reason):
    job = SITUATIONS[reason](client_user, settings)

    newest = calls.get(client_api, f"jobs/{job.pk}/events/").json()["results"][0]

    assert (newest["code"], newest["detail"].get("reason")) == TOLD[reason]


@pytest.mark.parametrize("reason", set(JobReason) - set(TOLD), ids=str)
def test_what_comes_and_goes_is_not_told(client_api, client_user, settings, reason):
    job = SITUATIONS[reason](client_user, settings)

    told = calls.get(client_api, f"jobs/{job.pk}/events/").json()["results"]

    assert all(event["detail"].get("reason") != reason.value for event in told)


def test_a_wait_is_over_when_what_was_missing_has_come(client_api, client_user, settings):
    job = no_capable_nodes(client_user, settings)
    factories.announce(job, nodes=factories.make_fleet(2))

    sweeps.sweep(now=NOW)

    shown = calls.get(client_api, f"jobs/{job.pk}/").json()
    assert (shown["state"], shown["reason"], shown["reason_text"]) == ("running", "", "")


def test_nodes_that_fell_silent_are_no_capable_nodes(client_api, client_user, settings):
    job = nodes_busy(client_user, settings)

    scheduling.assign_ready(now=NOW + fleet.ONLINE + timedelta(seconds=1))

    assert calls.get(client_api, f"jobs/{job.pk}/").json()["reason"] == "no_capable_nodes"


def test_every_gate_has_a_word_for_the_client_and_one_for_the_operator():
    gates = set(get_args(matching.Refusal))
    of_client = {gate for gate, _ in waiting.GATE_WORDS} | waiting.NOBODYS
    of_operator = set(idleness.GATE_WORDS) | {"barred", "quota"}

    assert gates | {"share"} == of_client
    assert gates == of_operator | {"not_asked", "no_slot", "slow"}
