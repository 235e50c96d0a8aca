"""A node dies at each step of an assignment; the job ends right all the same."""

from __future__ import annotations

import pytest

from portal.demo import stack
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.embedded]


def die_before_the_assignment_is_read(puppet, job_id):
    puppet.ack(job_id)


def die_after_reading(puppet, job_id):
    puppet.ack(job_id)
    puppet.next(messages.Assignment)


def die_after_the_first_heartbeat(puppet, job_id):
    puppet.ack(job_id)
    puppet.beat(puppet.next(messages.Assignment).assignment)


@pytest.mark.parametrize(
    "dying",
    [die_before_the_assignment_is_read, die_after_reading, die_after_the_first_heartbeat],
)
def test_a_dead_nodes_work_goes_to_another(platform, submit, finish, dying):
    doomed, first, second = (platform.puppet(number) for number in (1, 2, 3))
    for puppet in (doomed, first, second):
        puppet.beat()
    job_id = submit()

    dying(doomed, job_id)
    first.work(job_id)
    second.work(job_id)
    outcome = finish(job_id)

    assert outcome.job["state"] == "finished"
    assert outcome.job["progress"] == {"items": 1, "provisional": 1, "final": 0, "failed": 0}
    assert "lease_lost" in platform.events(job_id)
    platform.assert_sound()


def test_a_node_that_dies_after_publishing_is_paid(platform, submit, finish):
    doomed, other = platform.puppet(1), platform.puppet(2)
    for puppet in (doomed, other):
        puppet.beat()
    job_id = submit()

    replica = doomed.work(job_id).assignment
    other.work(job_id)
    finish(job_id)

    assert _rewards(platform, replica) == 1
    platform.assert_sound()


def test_a_report_sent_again_after_a_restart_is_paid_once(platform, submit, finish):
    restarted, other = platform.puppet(1), platform.puppet(2)
    for puppet in (restarted, other):
        puppet.beat()
    job_id = submit()

    restarted.ack(job_id)
    assignment = restarted.next(messages.Assignment)
    report = restarted.report(assignment)
    for _ in range(3):
        restarted.send("report", report)
    other.work(job_id)
    finish(job_id)
    restarted.send("report", report)

    assert _rewards(platform, assignment.assignment) == 1
    platform.assert_sound()


def test_a_late_answer_counts_while_nobody_else_was_faster(platform, submit, finish):
    late, other = platform.puppet(1), platform.puppet(2)
    for puppet in (late, other):
        puppet.beat()
    job_id = submit()

    late.ack(job_id)
    assignment = late.next(messages.Assignment)
    stack.wait_until(
        lambda: "lease_lost" in platform.events(job_id), seconds=60, what="the lease to end"
    )
    late.send("report", late.report(assignment))
    other.work(job_id)
    outcome = finish(job_id)

    assert outcome.job["state"] == "finished"
    assert _rewards(platform, assignment.assignment) == 1
    platform.assert_sound()


def _rewards(platform, replica_id: str) -> int:
    return platform.python(
        "from payments.models import TransferIntent\n"
        f"found = TransferIntent.objects.filter(key='replica:{replica_id}:reward')\n"
        "print(json.dumps(found.count()))"
    )
