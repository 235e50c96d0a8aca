"""What was to be sent is sent again from the rows; a kept message is taken again, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from tasks import arrivals, errors, jobs, nodes, scheduling
from tasks.models import Chunk, Credibility, Job, Node, Replica, SignedReport, StaffAction
from tasks.operations import replays
from tests import factories
from tests.tasks import work
from workers.protocol import routes, signatures

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


class Machine:
    """A node with its key."""

    def __init__(self) -> None:
        self.key = factories.make_key()
        owner = factories.make_user("operator", is_person=True)
        self.node = factories.make_node(owner, key=self.key, slots=3)

    def send(self, replica: Replica, *, now=work.NOW) -> arrivals.Outcome:
        """Report on it as the broker would deliver it."""
        body = work.report_of(replica).model_dump_json().encode()
        arrival = arrivals.Arrival(
            routing_key=routes.ingress_key("report", self.node.pk),
            user_id=routes.broker_username(self.node.pk),
            content_type="application/json",
            content_encoding="utf-8",
            signature=signatures.sign(body, key=self.key),
            header_names=frozenset({signatures.HEADER}),
            body=body,
        )
        return arrivals.take([arrival], now=now)


@pytest.fixture
def machines() -> list[Machine]:
    return [Machine(), Machine()]


@pytest.fixture
def job(client_user, machines) -> Job:
    return work.start(client_user, [machine.node for machine in machines])


def sent(callbacks) -> list[tuple[str, dict]]:
    return [(call.func.__name__, call.keywords) for call in callbacks]


def test_a_node_is_sent_all_it_should_know(
    client_user, machines, job, staff, now, django_capture_on_commit_callbacks
):
    node = machines[0].node
    unheard = factories.make_job(client_user)
    Job.objects.filter(pk=unheard.pk).update(announced_at=now)
    factories.make_job(client_user)  # not announced to anybody yet
    cancelled = work.start(client_user, [node])
    gone = work.leased(cancelled)[0]
    jobs.cancel(job_id=cancelled.pk, now=now)
    held = job.replicas.get(node=node)

    with django_capture_on_commit_callbacks() as callbacks:
        replayed = replays.replay_node(node_id=node.pk, staff_id=staff.pk, now=now)

    assert sent(callbacks) == [
        (
            "send_work",
            {"name": "tasks.restore_queue", "arguments": {"node_id": node.pk}},
        ),
        ("send_settings", {"node_ids": [node.pk]}),
        ("send_announcements_to", {"node_id": node.pk, "job_ids": [unheard.pk]}),
        ("send_assignments", {"replica_ids": [held.pk]}),
        ("send_withdrawals", {"replica_ids": [gone.pk]}),
    ]
    counts = {"announcements": 1, "assignments": 1, "withdrawals": 1, "settings": 1}
    assert replayed == replays.Replayed(**counts)
    action = StaffAction.objects.get()
    assert (action.verb, action.target, action.detail) == ("replay", node.pk, counts)


def test_a_replay_changes_nothing_but_its_line(machines, job, staff, now):
    before = work.everything()

    replays.replay_node(node_id=machines[0].node.pk, staff_id=staff.pk, now=now)
    replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now)

    after = work.everything()
    assert len(after.pop("tasks.StaffAction")) == 2
    before.pop("tasks.StaffAction")
    assert after == before


def test_a_job_is_announced_and_assigned_again(job, staff, now, django_capture_on_commit_callbacks):
    held = sorted((row.pk for row in work.leased(job)), reverse=True)

    with django_capture_on_commit_callbacks() as callbacks:
        replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now)

    assert sent(callbacks) == [
        ("send_announcement", {"job_id": job.pk}),
        ("send_assignments", {"replica_ids": held}),
    ]


def test_of_an_ended_job_only_withdrawals_are_left(
    job, staff, now, django_capture_on_commit_callbacks
):
    held = {row.pk for row in work.leased(job)}
    jobs.cancel(job_id=job.pk, now=now)

    with django_capture_on_commit_callbacks() as callbacks:
        replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now)

    ((name, arguments),) = sent(callbacks)
    assert (name, set(arguments["replica_ids"])) == ("send_withdrawals", held)


def test_what_ended_long_ago_is_not_withdrawn(job, staff, now, django_capture_on_commit_callbacks):
    jobs.cancel(job_id=job.pk, now=now)

    with django_capture_on_commit_callbacks() as callbacks:
        replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now + timedelta(days=2))

    assert callbacks == []


def test_a_lease_that_ran_out_is_not_assigned_again(job, staff, now):
    replayed = replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now + timedelta(minutes=5))

    assert replayed.assignments == 0


def test_a_removed_node_is_sent_nothing(machines, staff, now, django_capture_on_commit_callbacks):
    nodes.suspend(node_id=machines[0].node.pk, now=now)
    before = work.everything()

    with django_capture_on_commit_callbacks() as callbacks, pytest.raises(errors.WrongState):
        replays.replay_node(node_id=machines[0].node.pk, staff_id=staff.pk, now=now)

    assert callbacks == []
    assert work.everything() == before


def retake(message: SignedReport, staff, now=work.NOW) -> int:
    return replays.retake(message_id=message.pk, staff_id=staff.pk, now=now)


def test_a_message_that_was_taken_changes_nothing(machines, job, staff, now):
    for machine in machines:
        machine.send(job.replicas.get(node=machine.node))
    before = work.everything()

    for message in SignedReport.objects.order_by("pk"):
        assert retake(message, staff, now + 60 * SECOND) == 0
        assert retake(message, staff, now + 90 * SECOND) == 0

    after = work.everything()
    lines = after.pop("tasks.StaffAction")
    before.pop("tasks.StaffAction")
    assert after == before
    assert len(lines) == 4
    assert work.unsound() == []


def test_a_message_whose_report_was_lost_is_taken_again(machines, job, staff, now):
    """A row restored from before the report: the kept message brings the answer back."""
    replica = job.replicas.get(node=machines[0].node)
    before = Replica.objects.filter(pk=replica.pk).values().get()
    machines[0].send(replica)
    answered = Replica.objects.get(pk=replica.pk)
    Replica.objects.filter(pk=replica.pk).update(**before)
    Node.objects.update(last_seen_at=now - SECOND)

    assert retake(SignedReport.objects.get(), staff, now + SECOND) == 1

    again = Replica.objects.get(pk=replica.pk)
    assert (again.state, again.answer) == ("reported", answered.answer)
    assert Node.objects.get(pk=replica.node_id).last_seen_at == now - SECOND
    machines[1].send(job.replicas.get(node=machines[1].node))
    assert job.chunks.get().state == "provisional"
    assert work.unsound() == []


def test_the_report_of_a_quarantined_node_is_doubted_when_it_is_taken_again(
    machines, job, staff, now
):
    replica = job.replicas.get(node=machines[0].node)
    before = Replica.objects.filter(pk=replica.pk).values().get()
    machines[0].send(replica)
    Replica.objects.filter(pk=replica.pk).update(**before)
    Credibility.objects.update_or_create(
        node=replica.node, model=job.model, defaults={"quarantined_at": now}
    )

    retake(SignedReport.objects.get(), staff, now + SECOND)

    assert Replica.objects.get(pk=replica.pk).doubted_at == now


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signature": "A" * 86 + "=="}, "bad_signature"),
        ({"body": "{}"}, "bad_signature"),
    ],
)
def test_a_message_that_was_altered_is_refused(machines, job, staff, change, code):
    machines[0].send(job.replicas.get(node=machines[0].node))
    SignedReport.objects.update(**change)
    before = work.everything()

    with pytest.raises(replays.NotTaken, match=code):
        retake(SignedReport.objects.get(), staff)

    assert work.everything() == before


def test_a_node_that_may_not_speak_is_not_heard(machines, job, staff, now):
    machines[0].send(job.replicas.get(node=machines[0].node))
    nodes.suspend(node_id=machines[0].node.pk, now=now)
    before = work.everything()

    with pytest.raises(replays.NotTaken, match="unknown_node"):
        retake(SignedReport.objects.get(), staff)

    assert work.everything() == before


@pytest.mark.django_db(transaction=True)
def test_taken_again_by_many_at_once_it_is_taken_once(now, side_by_side):
    staff = factories.make_user("staff")
    machines = [Machine(), Machine()]
    job = work.start(factories.make_user(), [machine.node for machine in machines])
    replica = job.replicas.get(node=machines[0].node)
    before = Replica.objects.filter(pk=replica.pk).values().get()
    machines[0].send(replica)
    Replica.objects.filter(pk=replica.pk).update(**before)
    message = SignedReport.objects.get()

    answers = side_by_side(*[lambda: retake(message, staff, now)] * 4)

    assert sorted(answers) == [0, 0, 0, 1]
    assert StaffAction.objects.filter(verb="retake").count() == 4
    assert not Chunk.objects.filter(granted__gt=F("wanted")).exists()
    assert work.unsound() == []


def test_scheduling_goes_on_after_a_replay(machines, job, staff, now):
    replays.replay_job(job_id=job.pk, staff_id=staff.pk, now=now)

    assert scheduling.assign_ready(now=now) == []
    assert len(work.leased(job)) == 2
