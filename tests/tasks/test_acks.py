"""A node's word that it will take part: noted once, with its time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import acks, jobs
from tasks.models import Ack, Job, Node
from tasks.operations import quarantines
from tests import factories
from tests.tasks import work
from workers.protocol import messages


@pytest.fixture
def job(client_user, now) -> Job:
    job = factories.make_job(client_user)
    factories.announce(job, nodes=[])
    return job


@pytest.fixture
def node(operator):
    return factories.make_node(operator, reason="model_downloading", slots=1)


@pytest.fixture
def two_jobs(client_user) -> list[str]:
    return sorted(factories.make_job(client_user).pk for _ in range(2))


@pytest.fixture
def three_nodes() -> list[Node]:
    return sorted(factories.make_fleet(3), key=lambda node: node.pk)


def ack_of(node, job_id, **changes) -> messages.AckMessage:
    fields = {"sent_at": work.NOW, "node": node.pk, "job": job_id, "slots": 4}
    return messages.AckMessage(**{**fields, "cached_models": ["a" * 64], **changes})


def accept(*sent, now):
    with transaction.atomic():
        return acks.accept(sent, now=now)


def test_an_ack_is_noted_with_its_time_and_what_the_node_says_of_itself(job, node, now):
    later = now + timedelta(milliseconds=123)

    assert accept(ack_of(node, job.pk), now=later) == [job.pk]

    ack = Ack.objects.get()
    assert (ack.job, ack.node, ack.received_at, ack.latency_ms) == (job, node, later, 123)
    node.refresh_from_db()
    assert (node.slots, node.reason, node.last_seen_at) == (4, "", later)
    assert node.cached_models == ["a" * 64]
    assert Job.objects.get().version == job.version + 1


def test_a_second_ack_from_the_same_node_changes_nothing(job, node, now):
    accept(ack_of(node, job.pk), ack_of(node, job.pk), now=now)
    before = work.everything()

    assert accept(ack_of(node, job.pk), now=now) == []

    assert work.everything() == before
    assert (Ack.objects.count(), Job.objects.get().version) == (1, job.version + 1)


def test_one_batch_holds_acks_of_many_nodes_for_many_jobs(client_user, job, now):
    other = factories.make_job(client_user)
    factories.announce(other, nodes=[])
    fleet = factories.make_fleet(3)
    sent = [ack_of(node, job_id) for node in fleet for job_id in (job.pk, other.pk)]

    assert accept(*sent, now=now) == sorted([job.pk, other.pk])

    assert Ack.objects.count() == 6


@pytest.mark.parametrize("end", [jobs.cancel, None], ids=["ended", "never announced"])
def test_an_ack_for_a_job_that_waits_for_nobody_changes_nothing(job, node, now, end):
    if end:
        end(job_id=job.pk, now=now - acks.LATE_MAX)
    else:
        Job.objects.update(announced_at=None)
    before = work.everything()

    assert accept(ack_of(node, job.pk), now=now) == []

    assert work.everything() == before


def test_a_finished_job_whose_answers_are_doubted_takes_nodes_again(client_user, node, staff, now):
    fleet = factories.make_fleet(2)
    job = work.start(client_user, fleet)
    work.take(*(work.report_of(replica) for replica in work.leased(job)))
    later = now + acks.LATE_MAX
    assert Job.objects.get().state == Job.State.FINISHED
    assert accept(ack_of(node, job.pk), now=later) == []

    quarantines.impose(
        node_id=fleet[0].pk, model_id=None, staff_id=staff.pk, note="Odd.", now=later
    )

    assert accept(ack_of(node, job.pk), now=later) == [job.pk]


def test_an_ack_just_after_a_quick_jobs_end_still_counts(job, node, now):
    jobs.cancel(job_id=job.pk, now=now)

    assert accept(ack_of(node, job.pk), now=now + timedelta(seconds=1)) == [job.pk]

    assert Ack.objects.get().latency_ms == 1000


def test_an_ack_for_an_unknown_job_changes_nothing(node, now):
    before = work.everything()

    assert accept(ack_of(node, "job_0"), now=now) == []

    assert work.everything() == before


def test_an_ack_before_its_announcement_by_our_clock_took_no_time(job, node, now):
    accept(ack_of(node, job.pk), now=now - timedelta(seconds=1))

    assert Ack.objects.get().latency_ms == 0


spoken = st.lists(
    st.fixed_dictionaries(
        {
            "node": st.integers(0, 2),
            "job": st.integers(0, 1),
            "slots": st.integers(0, 32),
            "cached": st.integers(0, 2),
        }
    ),
    min_size=1,
    max_size=6,
)


def taken(write, nodes, job_ids, batches) -> tuple[list[list[str]], dict]:
    """Let `write` take batch after batch; return the jobs named and all rows; undo it."""
    latencies = {job_id: 7 + place for place, job_id in enumerate(job_ids)}
    with transaction.atomic():
        gained = []
        for drawn in batches:
            sent = [
                ack_of(
                    nodes[each["node"]],
                    job_ids[each["job"]],
                    slots=each["slots"],
                    cached_models=["a" * 64] * each["cached"],
                )
                for each in drawn
            ]
            gained.append(write(sent, latencies_ms=latencies, now=work.NOW))
        rows = work.everything()
        rows["tasks.Ack"] = sorted(row[1:] for row in rows["tasks.Ack"])  # all but the number
        transaction.set_rollback(True)
    return gained, rows


@given(batches=st.lists(spoken, min_size=1, max_size=3))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_batch_at_once_is_the_batch_row_by_row(two_jobs, three_nodes, batches):
    at_once = taken(acks.write, three_nodes, two_jobs, batches)

    assert at_once == taken(acks.write_plainly, three_nodes, two_jobs, batches)


def test_many_acks_cost_as_many_queries_as_one(job, three_nodes, now):
    def queries(*sent) -> int:
        with CaptureQueriesContext(connection) as context:
            accept(*(ack_of(node, job.pk) for node in sent), now=now)
        return len(context)

    one, two = queries(three_nodes[0]), queries(*three_nodes[1:])

    if connection.vendor == "postgresql":
        assert one == two
