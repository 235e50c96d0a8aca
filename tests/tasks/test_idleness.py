"""Why a ready node gets nothing: the gates of the scheduler, in the operator's words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import node_views, scheduling
from tasks.models import Credibility, Job, Node
from tests import factories
from tests.tasks import work

NOW = work.NOW
WEEK = timedelta(days=7)


@pytest.fixture
def node(operator) -> Node:
    return factories.make_node(operator, slots=4)


def reason_of(node: Node) -> str:
    node.refresh_from_db()
    return node_views.of_node(node, now=NOW).reason


def waiting_job(client, *, acked=(), **fields) -> Job:
    job = factories.make_job(client, **fields)
    factories.announce(job, nodes=acked)
    return job


def test_without_any_work_it_is_just_ready(node):
    assert reason_of(node) == "no_work"


def test_work_it_could_have_is_given_in_a_moment_and_no_reason(client_user, node):
    waiting_job(client_user, acked=[node])

    assert reason_of(node) == "no_work"


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"client_categories": ["research"]}, "categories_excluded"),
        ({"kinds": ["classify"]}, "kinds_excluded"),
        ({"kinds": ["classify"], "client_categories": ["research"]}, "kinds_excluded"),
        ({"kinds": ["detect"]}, "no_work"),
        ({"cores": 1}, "no_work"),
    ],
)
def test_jobs_it_does_not_acknowledge_for_its_limits(client_user, node, wishes, reason):
    waiting_job(client_user)
    Node.objects.filter(pk=node.pk).update(wishes=wishes)

    assert reason_of(node) == reason


def test_limits_that_leave_out_one_job_of_two_are_no_reason(client_user, node):
    waiting_job(client_user)
    Job.objects.filter(pk=waiting_job(client_user).pk).update(client_category="research")
    Node.objects.filter(pk=node.pk).update(wishes={"client_categories": ["research"]})

    assert reason_of(node) == "no_work"


def test_ones_own_jobs_are_not_counted_as_left_out(operator, node):
    waiting_job(operator)
    Node.objects.filter(pk=node.pk).update(wishes={"client_categories": ["research"]})

    assert reason_of(node) == "no_work"


@pytest.mark.parametrize(
    ("state", "until", "reason"),
    [
        ("quarantined", NOW + WEEK, "quarantined"),
        ("quarantined", NOW - WEEK, "no_work"),
        ("banned", None, "banned"),
        ("watched", None, "no_work"),
        ("probation", None, "no_work"),
    ],
)
def test_strikes_are_told_also_while_no_work_waits(node, state, until, reason):
    Credibility.objects.create(
        node=node, model=factories.make_model(), state=state, barred_until=until
    )

    assert reason_of(node) == reason


def test_a_ban_for_one_model_of_two_is_told_only_while_that_ones_work_waits(client_user, node):
    banned, other = factories.make_model(), factories.make_classifier()
    Credibility.objects.create(node=node, model=banned, state="banned")
    Credibility.objects.create(node=node, model=other, state="trusted")
    assert reason_of(node) == "no_work"

    waiting_job(client_user, acked=[node], model=banned.pk)

    assert reason_of(node) == "banned"


@pytest.mark.parametrize(("slots", "reason"), [(8, "quota_low"), (3, "")])
def test_a_small_quota_is_told_while_the_node_could_hold_more(client_user, node, slots, reason):
    Node.objects.filter(pk=node.pk).update(slots=slots)
    job = waiting_job(client_user, acked=[node], images=8)
    Credibility.objects.create(node=node, model=job.model, quota=2)
    scheduling.assign_ready(now=NOW)

    assert job.replicas.filter(node=node).count() == 2
    assert reason_of(node) == reason


def test_a_network_that_has_the_chunk_is_no_match(client_user, node):
    Node.objects.update(network="203.0.113.0/24")
    neighbour = factories.make_node(factories.make_user("operator"), network="203.0.113.0/24")
    job = waiting_job(client_user, acked=[neighbour])
    scheduling.assign_ready(now=NOW)
    factories.announce(job, nodes=[node])

    assert reason_of(node) == "no_match"


def test_looking_changes_nothing(client_user, node):
    waiting_job(client_user, acked=[node])
    before = work.everything()

    reason_of(node)

    assert work.everything() == before
