"""What an operator forbids, platform and node keep to, each without the other."""

from __future__ import annotations

import pytest
from django.utils import timezone

from portal.models import User
from tasks import nodes, scheduling
from tasks.models import Job, Node, Replica
from tests import factories
from tests.portal.api import calls
from tests.portal.machines import Machine
from tests.tasks import work
from tests.workers.platform_double import make_announcement
from workers import events
from workers.protocol.allowance import Allowance

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(make_machine) -> Machine:
    return make_machine(factories.make_user("operator", is_person=True))


@pytest.fixture
def buyer(transactional_db) -> User:
    return factories.make_user("client", client_category="commercial")


def buy(buyer: User) -> Job:
    """Buy a job by the API; it carries what the account is for."""
    factories.fund(buyer)
    body = {
        "kind": "detect",
        "dataset": factories.make_dataset(buyer).pk,
        "model": factories.make_model().pk,
        "target_error": "1e-2",
    }
    job = Job.objects.get(pk=calls.post(calls.key_client(buyer), "jobs/", body).json()["id"])
    Job.objects.filter(pk=job.pk).update(announced_at=timezone.now())
    return job


def announce(job: Job, machine: Machine) -> None:
    """Let the node hear of the job as the platform announces it."""
    message = make_announcement(job.model.blob_id, job=job.pk, client_category=job.client_category)
    machine.feed(events.Announced(message))


def send(replica: Replica, machine: Machine) -> None:
    """Let the node have the assignment, as the platform sends it."""
    machine.feed(events.Assigned((work.assignment_of(replica, now=timezone.now()),)))


def test_a_node_neither_acknowledges_nor_gets_what_its_file_forbids(machine, buyer):
    machine.limit(client_categories=["research"])
    job = buy(buyer)

    announce(job, machine)
    scheduling.assign_ready(now=timezone.now())

    job.refresh_from_db()
    assert (job.acks.count(), job.replicas.count()) == (0, 0)
    assert job.reason == "category_excluded"


def test_a_node_works_for_those_whom_its_file_names(machine, buyer):
    machine.limit(client_categories=["commercial"])
    job = buy(buyer)

    announce(job, machine)
    scheduling.assign_ready(now=timezone.now())
    send(job.replicas.get(), machine)

    assert machine.begun == [str(job.replicas.get().pk)]


def test_a_node_gives_back_what_its_file_forbids_though_the_platform_sends_it(machine, buyer):
    machine.limit(client_categories=["research"])
    # As if the platform had lost what the node said of its file, and its word besides.
    Node.objects.filter(pk=machine.node.pk).update(profile={})
    job = buy(buyer)
    factories.announce(job, nodes=[machine.node], now=timezone.now())
    scheduling.assign_ready(now=timezone.now())
    replica = job.replicas.get()

    send(replica, machine)

    replica.refresh_from_db()
    assert machine.begun == []
    assert (replica.state, replica.reason) == ("failed", "handed_back")
    operator = calls.key_client(machine.node.owner)
    (shown,) = calls.get(operator, f"nodes/{machine.node.pk}/replicas/").json()["results"]
    assert (shown["reason"], shown["node_said"]) == ("handed_back", "category_not_allowed")
    assert job.chunks.get().granted == 0
    assert work.unsound(timezone.now()) == []


def test_a_limit_set_on_the_page_ends_what_it_forbids_and_others_get_it(machine, buyer):
    job = buy(buyer)
    announce(job, machine)
    scheduling.assign_ready(now=timezone.now())
    replica = job.replicas.get()
    send(replica, machine)

    nodes.set_wishes(node_id=machine.node.pk, wishes=Allowance(client_categories=["education"]))
    machine.hear_page()

    replica.refresh_from_db()
    assert machine.begun == machine.stopped == [str(replica.pk)]
    assert (replica.reason, replica.error_code) == ("handed_back", "category_not_allowed")
    (other,) = factories.make_fleet(1, last_seen_at=timezone.now())
    factories.announce(job, nodes=[other], now=timezone.now())
    scheduling.assign_ready(now=timezone.now())
    assert [row.node for row in work.leased(job)] == [other]
