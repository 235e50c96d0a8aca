"""`GET operations/`: the state of the platform, for staff alone."""

from __future__ import annotations

import pytest
from django.utils import timezone

from tasks import queues
from tasks.models import Node
from tasks.operations import draining
from tests import factories
from tests.portal.api import calls
from tests.tasks import work

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff_api(staff):
    return calls.key_client(staff)


def test_staff_see_the_state_of_the_platform(staff_api, client_user):
    work.start(client_user, factories.make_fleet(2), images=2)
    Node.objects.update(last_seen_at=timezone.now())

    answer = calls.get(staff_api, "operations/")

    seen = answer.json()
    assert answer.status_code == 200
    assert seen["jobs"][1]["state"] == "running"
    assert seen["jobs"][1]["count"] == 1
    assert seen["work"]["replicas_leased"] == 2
    assert seen["nodes"]["online"] == 2
    assert seen["gates"].keys() == {"chunks", "nodes", "grants", "by_gate"}
    assert seen["referee"]["budget_images"] == 2000
    assert seen["platform"]["drained_at"] is None
    assert [queue["name"] for queue in seen["broker"]["queues"]] == [
        queue.name for queue in queues.PLATFORM_QUEUES
    ]


def test_others_find_nothing(stranger_api, client):
    calls.refused(calls.get(stranger_api, "operations/"), 404, "not_found")
    calls.refused(calls.get(client, "operations/"), 401, "not_authenticated")


def test_a_key_needs_the_scope_to_read(staff):
    api = calls.key_client(staff, ["jobs"])

    calls.refused(calls.get(api, "operations/"), 403, "scope_missing")


def test_an_operator_reads_why_their_node_gets_no_work(operator_api, operator, staff):
    node = factories.make_node(operator, last_seen_at=timezone.now())
    draining.drain(node_id=node.pk, staff_id=staff.pk, note="New disk.", now=timezone.now())

    shown = calls.get(operator_api, f"nodes/{node.pk}/").json()

    assert (shown["state"], shown["reason"], shown["staff_note"]) == (
        "online",
        "drained",
        "New disk.",
    )
