"""What the platform says to nodes: signed, for one node, with nothing more than it needs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tasks import blobs, broker, identity, jobs, outgoing, samples
from tasks.models import Job, Node, Replica
from tests import factories
from tests.tasks import work
from workers import config
from workers import link as node_link
from workers.protocol import messages, routes, signatures


@pytest.fixture
def job(client_user) -> Job:
    return work.start(client_user, factories.make_fleet(2), images=2)


@pytest.fixture
def replica(job) -> Replica:
    return work.leased(job)[0]


@pytest.fixture
def inbox(replica, settings):
    """Return a function that reads what waits in the node's queue: task name and text.

    It logs in as the administrator, for the platform may not read there and the node is
    asked about elsewhere, and checks each signature.
    """
    given = broker.provision_node(node_id=replica.node_id, kinds=["detect"])
    login = config.BrokerLogin(**asdict(given))
    if settings.BROKER_MANAGEMENT_URL:
        administrator = urlsplit(settings.BROKER_MANAGEMENT_URL)
        login = login.model_copy(
            update={"username": administrator.username, "password": administrator.password}
        )

    def read() -> list[tuple[str, str]]:
        found = []
        with node_link.connect(login) as connection, connection.channel() as channel:
            while message := channel.basic_get(login.queue, no_ack=True):
                (text, signature), _, _ = channel.message_to_python(message).payload
                signatures.verify(
                    text.encode(), signature, public_key=identity.platform_public_key()
                )
                found.append((message.headers["task"], text))
        return found

    yield read
    broker.revoke_node(node_id=replica.node_id)


def test_an_assignment_names_its_node_its_inputs_and_no_client(replica, now):
    message = work.assignment_of(replica, now=now)

    item = replica.chunk.items.select_related("image").get()
    assert (message.assignment, message.node, message.job) == (
        str(replica.pk),
        replica.node_id,
        replica.job_id,
    )
    assert (message.nonce, message.score_floor) == (replica.nonce, 0.25)
    assert [(given.position, given.digest) for given in message.inputs] == [(0, item.image.blob_id)]
    assert message.model.class_ids == [1, 17]
    assert message.expires_at == now + timedelta(minutes=5)
    text = message.model_dump_json()
    assert replica.job.owner.email not in text
    assert item.image.name not in text
    assert item.image_id not in text


def test_each_link_is_for_this_node_and_one_digest(replica, now):
    message = work.assignment_of(replica, now=now)

    for link, digest in [
        (message.inputs[0].url, message.inputs[0].digest),
        (message.model.url, message.model.digest),
    ]:
        params = {key: values[0] for key, values in parse_qs(urlsplit(link).query).items()}
        assert urlsplit(link).path == f"/blobs/{digest}"
        assert params["audience"] == replica.node_id
        blobs.check_url(digest, params, now=now)


def test_the_same_row_always_gives_the_same_work(replica, now):
    again = Replica.objects.get(pk=replica.pk)

    assert work.assignment_of(replica, now=now) == work.assignment_of(again, now=now)


def test_an_announcement_reaches_a_node_signed_and_its_time_is_kept(job, inbox):
    Job.objects.update(announced_at=None)
    before = datetime.now(UTC)

    outgoing.send_announcement(job_id=job.pk)

    ((task, text),) = inbox()
    message = messages.Announcement.model_validate_json(text)
    assert (task, message.job, message.items) == (routes.TASK_ANNOUNCE, job.pk, 2)
    job.refresh_from_db()
    assert before <= job.announced_at == job.announced_again_at == message.sent_at


def test_an_announcement_says_what_the_client_is_and_not_who(job, client_user, inbox):
    Job.objects.update(client_category="nonprofit")

    outgoing.send_announcement(job_id=job.pk)

    ((_, text),) = inbox()
    assert messages.Announcement.model_validate_json(text).client_category == "nonprofit"
    assert client_user.email not in text


def test_announcing_again_keeps_the_first_time(job, inbox):
    first = job.announced_at

    outgoing.send_announcement(job_id=job.pk)

    job.refresh_from_db()
    assert job.announced_at == first
    assert job.announced_again_at > first - timedelta(days=1)
    assert len(inbox()) == 1


def told(job_id: str) -> tuple[int, int]:
    outgoing.send_announcement(job_id=job_id)
    job = Job.objects.get(pk=job_id)
    return job.buckets_told, job.nodes_asked


def test_a_large_fleet_hears_of_a_job_in_samples_until_all_have(job, inbox, monkeypatch):
    Job.objects.update(announced_at=None)
    owner = factories.make_user("operator")
    for bucket in samples.BUCKETS:
        factories.make_node(owner, pk=f"node_{'0' * 25}{bucket}")
    Node.objects.update(last_seen_at=datetime.now(UTC))
    monkeypatch.setattr(samples, "FLEET_ALL_MAX", 33)
    monkeypatch.setattr(samples, "NODES_MIN", 8)

    counts = [told(job.pk) for _ in range(5)]

    assert [buckets for buckets, _ in counts] == [8, 16, 24, 32, 40]
    assert 8 <= counts[0][1] <= 10
    assert [asked for _, asked in counts[-2:]] == [34, 34]
    assert 1 <= len(inbox()) <= 2


def test_a_small_fleet_is_asked_as_a_whole_and_counted_once(job, inbox):
    Job.objects.update(announced_at=None)
    Node.objects.update(last_seen_at=datetime.now(UTC))

    assert [told(job.pk) for _ in range(2)] == [(0, 2), (0, 2)]
    assert len(inbox()) == 2


def test_an_assignment_goes_to_its_node_alone(job, replica, inbox):
    outgoing.send_assignments(replica_ids=[row.pk for row in work.leased(job)])

    mine = [row for row in work.leased(job) if row.node_id == replica.node_id]
    sent = [(task, messages.Assignment.model_validate_json(text)) for task, text in inbox()]
    assert [(task, message.assignment) for task, message in sent] == [
        (routes.TASK_ASSIGN, str(row.pk)) for row in mine
    ]


def test_several_assignments_of_one_node_share_a_message(client_user, job, replica, inbox):
    Node.objects.update(slots=3)
    work.start(client_user, [replica.node])
    mine = list(replica.node.replicas.order_by("pk"))
    assert len(mine) == 3

    outgoing.send_assignments(replica_ids=[row.pk for row in mine])

    ((task, text),) = inbox()
    several = messages.read_assignments(text.encode())
    assert (task, several.node) == (routes.TASK_ASSIGN, replica.node_id)
    assert [each.assignment for each in several.assignments] == [str(row.pk) for row in mine]


def test_assignments_that_do_not_fit_go_in_several_messages(
    client_user, job, replica, inbox, monkeypatch
):
    Node.objects.update(slots=3)
    other = work.start(client_user, [replica.node])
    second = other.replicas.filter(node=replica.node).first()
    one = work.assignment_of(replica, now=work.NOW).model_dump_json()
    monkeypatch.setattr("workers.protocol.limits.MESSAGE_BYTES_MAX", len(one) + 200)

    outgoing.send_assignments(replica_ids=[replica.pk, second.pk])

    read = [messages.read_assignments(text.encode()) for _, text in inbox()]
    assert [each.assignment for each in read] == [str(replica.pk), str(second.pk)]


def test_what_is_no_longer_leased_is_not_assigned(job, replica, inbox, now):
    jobs.cancel(job_id=job.pk, now=now)

    outgoing.send_assignments(replica_ids=[replica.pk])

    assert inbox() == []


def test_a_withdrawal_names_the_nodes_own_assignments(job, replica, inbox):
    outgoing.send_withdrawals(replica_ids=[row.pk for row in work.leased(job)])

    ((task, text),) = inbox()
    message = messages.Withdrawal.model_validate_json(text)
    assert (task, message.node) == (routes.TASK_WITHDRAW, replica.node_id)
    assert message.assignments == [str(replica.pk)]


def test_a_job_can_be_announced_to_one_node_alone(client_user, job, replica, inbox, now):
    other = factories.make_job(client_user)
    before = list(Job.objects.order_by("pk").values())

    outgoing.send_announcements_to(node_id=replica.node_id, job_ids=[job.pk, other.pk])

    sent = [(task, messages.Announcement.model_validate_json(text)) for task, text in inbox()]
    assert [(task, message.job) for task, message in sent] == [
        (routes.TASK_ANNOUNCE, job.pk),
        (routes.TASK_ANNOUNCE, other.pk),
    ]
    assert list(Job.objects.order_by("pk").values()) == before
