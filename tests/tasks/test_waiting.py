"""Why a job waits: each reason, when it is written, and who is told."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from tasks import candidates, waiting
from tasks.models import Chunk, Job
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)


@pytest.fixture
def nodes(db):
    return factories.make_fleet(2)


@pytest.fixture
def job(client_user, nodes):
    """A job that two nodes have acknowledged and that got nothing yet."""
    made = factories.make_job(client_user)
    factories.announce(made, nodes=nodes)
    made.refresh_from_db()
    return made


def explain(job: Job, *refused: str, now) -> str:
    waiting.explain([job], refusals={job.pk: Counter(refused)}, now=now)
    job.refresh_from_db()
    return job.reason


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (["numeric_class"], "numeric_class_shortage"),
        (["owner_tried"], "owners_exhausted"),
        (["kept_apart"], "owners_exhausted"),
        (["same_network"], "owners_exhausted"),
        (["quota"], "quota"),
        (["barred"], "quota"),
        (["share"], "priority_queue"),
        (["no_slot"], "nodes_busy"),
        ([], "nodes_busy"),
        # A node that could never have it says nothing of the wait; the most telling counts.
        (["own_node", "not_asked"], "nodes_busy"),
        (["no_slot", "no_slot", "own_node", "owner_tried"], "owners_exhausted"),
        (["quota", "numeric_class"], "numeric_class_shortage"),
    ],
)
def test_each_gate_has_its_word(job, now, refused, reason):
    assert explain(job, *refused, now=now) == reason


def test_a_job_that_no_node_online_acknowledged_has_no_capable_nodes(job, nodes, now):
    for node in nodes:
        node.last_seen_at = now - timedelta(hours=1)
        node.save()

    assert explain(job, "no_slot", now=now) == "no_capable_nodes"


def test_the_clients_own_nodes_are_no_capable_ones(stranger, now):
    job = factories.make_job(stranger)
    factories.announce(job, nodes=[factories.make_node(stranger)])

    assert explain(job, "own_node", now=now) == "no_capable_nodes"


@pytest.mark.parametrize(
    ("refused", "told"),
    [("owner_tried", 1), ("numeric_class", 1), ("no_slot", 0), ("quota", 0), ("share", 0)],
)
def test_only_waits_that_last_stand_in_the_jobs_history_and_once(job, now, refused, told):
    version = job.version

    explain(job, refused, now=now)
    explain(job, refused, now=now + SECOND)

    events = list(job.events.filter(code="waiting").values_list("detail", flat=True))
    assert events == [{"reason": job.reason}] * told
    assert job.version == version + 1


def test_a_job_that_got_nothing_lets_others_come_first_for_a_second(job, client_user, now):
    other = factories.make_job(client_user, now=now + SECOND)

    explain(job, "no_slot", now=now)
    explain(job, "no_slot", now=now + SECOND / 2)

    assert job.passed_over_at == now
    assert [each.pk for each in candidates.jobs_with_work()] == [other.pk, job.pk]
    explain(job, "no_slot", now=now + 1.5 * SECOND)
    assert job.passed_over_at == now + 1.5 * SECOND


@pytest.mark.parametrize("state", ["paused", "finished", "cancelled", "failed"])
def test_a_job_that_is_not_open_waits_for_nothing(job, now, state):
    Job.objects.update(state=state, finished_at=None if state == "paused" else now)
    job.refresh_from_db()
    before = work.everything()

    waiting.explain([job], refusals={job.pk: Counter(["no_slot"])}, now=now)
    waiting.explain_at_work(now=now)

    assert work.everything() == before


def test_what_is_out_gives_no_reason_and_what_came_back_is_being_verified(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    Job.objects.update(reason="nodes_busy")

    waiting.explain_at_work(now=now)
    assert Job.objects.get().reason == ""
    work.take(work.report_of(work.leased(job)[0]))
    waiting.explain_at_work(now=now)

    assert Job.objects.get().reason == "verifying"


def test_what_the_referee_was_asked_waits_for_the_referee(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    work.take(work.report_of(work.leased(job)[0]))
    Chunk.objects.update(referee_asked_at=now)

    waiting.explain_at_work(now=now)
    assert Job.objects.get().reason == "referee"
    Chunk.objects.update(referee_at=now)
    waiting.explain_at_work(now=now)

    assert Job.objects.get().reason == "verifying"


def test_a_job_with_something_to_give_out_is_left_to_the_scheduler(job, now):
    Job.objects.update(reason="quota")
    before = work.everything()

    waiting.explain_at_work(now=now)

    assert work.everything() == before
