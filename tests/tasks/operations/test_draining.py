"""A drained node, or platform, gets no new work, finishes what it has, and says why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import candidates, errors, jobs, leases, node_views, scheduling, sweeps
from tasks.models import Job, Node, Platform, Replica, StaffAction
from tasks.operations import draining, platform
from tests import factories
from tests.tasks import work

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def nodes():
    return factories.make_fleet(3, slots=2)


def drain(node: Node, staff, now=work.NOW, note="New disk."):
    return draining.drain(node_id=node.pk, staff_id=staff.pk, note=note, now=now)


def test_a_drained_node_gets_nothing_and_finishes_what_it_has(client_user, nodes, staff, now):
    first = work.start(client_user, nodes[:2])
    drained = drain(nodes[0], staff)
    second = factories.make_job(client_user)
    factories.announce(second, nodes=nodes)

    scheduling.assign_ready(now=now)

    assert (drained.drained_at, drained.drain_note) == (now, "New disk.")
    assert {row.node_id for row in work.leased(second)} == {nodes[1].pk, nodes[2].pk}
    assert nodes[0].pk in {row.node_id for row in work.leased(first)}
    work.take(*map(work.report_of, work.leased(first)))
    assert set(first.replicas.values_list("state", flat=True)) == {"accepted"}
    assert work.unsound() == []


def test_its_operator_reads_why(nodes, staff, now):
    drain(nodes[0], staff, note="  New\ndisk. ")

    view = node_views.of_node(Node.objects.get(pk=nodes[0].pk), now=now)

    assert (view.state, view.reason, view.staff_note) == ("online", "drained", "New disk.")
    assert view.reason_text == "Staff give it no new work; what it has it finishes."


def test_a_drain_is_refused_a_second_time_and_changes_nothing(nodes, staff, now):
    drain(nodes[0], staff)
    before = work.everything()

    with pytest.raises(errors.WrongState, match="The node is drained"):
        drain(nodes[0], staff, now=now + SECOND, note="Other.")

    assert work.everything() == before


@pytest.mark.parametrize("state", [Node.State.SUSPENDED, Node.State.RETIRED])
def test_a_removed_node_is_not_drained(operator, staff, state):
    node = factories.make_node(operator, state=state)
    before = work.everything()

    with pytest.raises(errors.WrongState, match=f"The node is {state}"):
        drain(node, staff)

    assert work.everything() == before


def test_the_end_of_a_drain_gives_work_again(client_user, nodes, staff, now):
    drain(nodes[0], staff)

    draining.undrain(node_id=nodes[0].pk, staff_id=staff.pk, now=now)

    job = work.start(client_user, nodes[:2])
    assert nodes[0].pk in {row.node_id for row in work.leased(job)}
    assert [(row.verb, row.target, row.staff_id, row.note) for row in actions()] == [
        ("drain", nodes[0].pk, staff.pk, "New disk."),
        ("undrain", nodes[0].pk, staff.pk, ""),
    ]
    with pytest.raises(errors.WrongState):
        draining.undrain(node_id=nodes[0].pk, staff_id=staff.pk, now=now)
    assert StaffAction.objects.count() == 2


def actions() -> list[StaffAction]:
    return list(StaffAction.objects.order_by("pk"))


def test_a_scheduler_that_chose_before_the_drain_gives_it_nothing(nodes, staff, db):
    drain(nodes[0], staff)

    assert candidates.lock_free([nodes[0].pk, nodes[1].pk]) == {nodes[1].pk: 2}


def test_a_drained_node_whose_lease_is_lost_gets_it_not_again(client_user, nodes, staff, now):
    job = work.start(client_user, nodes[:2])
    drain(nodes[0], staff)

    leases.expire(now=now + 60 * SECOND)
    Node.objects.update(last_seen_at=now + 60 * SECOND, reason="")
    scheduling.assign_ready(now=now + 61 * SECOND)

    assert {row.node_id for row in work.leased(job)} == {nodes[1].pk}


def drain_all(staff, now=work.NOW) -> Platform:
    return draining.drain_platform(staff_id=staff.pk, note="Moving house.", now=now)


def test_a_drained_platform_gives_out_nothing_and_jobs_say_so(client_user, nodes, staff, now):
    running = work.start(client_user, nodes[:2])
    drain_all(staff)
    waiting = factories.make_job(client_user)
    factories.announce(waiting, nodes=nodes)

    sweeps.sweep(now=now + SECOND)

    waiting.refresh_from_db()
    assert (waiting.state, waiting.reason) == ("queued", "platform_drained")
    assert waiting.replicas.count() == 0
    assert waiting.events.get(code="waiting").detail == {"reason": "platform_drained"}
    running.refresh_from_db()
    assert running.reason == ""
    work.take(*map(work.report_of, work.leased(running)))
    running.refresh_from_db()
    assert running.state == Job.State.FINISHED
    assert work.unsound() == []


def test_the_reason_goes_when_work_is_given_out_again(client_user, nodes, staff, now):
    drain_all(staff)
    job = work.start(client_user, nodes)
    assert job.reason == "platform_drained"

    draining.resume_platform(staff_id=staff.pk, now=now + SECOND)
    scheduling.assign_ready(now=now + SECOND)

    job.refresh_from_db()
    assert (job.state, job.reason) == ("running", "")
    assert len(work.leased(job)) == 2
    assert not platform.is_drained()


def test_a_job_of_a_drained_platform_can_be_paused_and_cancelled(client_user, nodes, staff, now):
    drain_all(staff)
    job = work.start(client_user, nodes)

    jobs.pause(job_id=job.pk, now=now)
    scheduling.assign_ready(now=now)
    assert Job.objects.get(pk=job.pk).reason == "paused_by_client"
    jobs.cancel(job_id=job.pk, now=now)

    assert Job.objects.get(pk=job.pk).reason == ""
    assert work.unsound() == []


def test_draining_and_resuming_twice_is_refused(staff, now):
    with pytest.raises(errors.WrongState):
        draining.resume_platform(staff_id=staff.pk, now=now)
    drain_all(staff)
    with pytest.raises(errors.WrongState):
        drain_all(staff, now=now + SECOND)

    assert platform.read().drained_at == now
    assert [row.verb for row in actions()] == ["drain"]


@pytest.mark.django_db(transaction=True)
def test_of_many_who_drain_at_once_one_does(now, side_by_side):
    staff = factories.make_user("staff")
    node = factories.make_node(factories.make_user("operator"))

    answers = side_by_side(*[lambda: drain(node, staff), lambda: drain_all(staff)] * 3)

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [type(answer) for answer in refused] == [errors.WrongState] * 4
    assert sorted(row.target for row in actions()) == sorted(["platform", node.pk])
    assert Replica.objects.count() == 0
