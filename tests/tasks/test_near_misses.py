"""What an operator is told of answers that were nearly right: what, when, and how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tasks import near_misses, node_views, queries
from tasks.models import Credibility, Node, Replica, Strike
from tasks.verification import faults, strikes
from tests import factories
from tests.tasks import refusals, work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
NOW = work.NOW


@pytest.fixture
def node(operator) -> Node:
    return factories.make_node(operator, name="mine")


@pytest.fixture
def missed(client_user, node) -> Replica:
    """Work of `node` that the referee found nearly right; it had passed 50 checks."""
    return refusals.nearly(client_user, [node, *factories.make_fleet(4)], checks=50)


def answered(node: Node, count: int) -> None:
    """Let so many answers of the node be accepted."""
    record = Credibility.objects.get(node=node)
    Credibility.objects.filter(pk=record.pk).update(answers=record.answers + count)


def warnings(node: Node) -> list[near_misses.NearMiss]:
    return near_misses.standing([node.pk]).get(node.pk, [])


def test_a_warning_says_what_it_was_and_what_it_cost(node, missed):
    (warning,) = warnings(node)

    assert (warning.replica_id, warning.found_at) == (str(missed.pk), NOW)
    assert (warning.model_name, warning.model_id) == ("Tiny detector", missed.job.model_id)
    assert (warning.is_strike, warning.is_paid) == (False, False)
    assert (warning.checks_lost, warning.answers_left) == (25.0, 500)
    assert trust.reward(missed) == ""


def test_it_is_told_in_words(node, missed):
    (warning,) = warnings(node)

    assert warning.happened == (
        "An answer with Tiny detector was nearly right: it says the same as the platform's own, "
        "but its numbers differ by more than processors usually do. It was not paid, and the "
        "node lost 25 of its checks for this model. It is a warning and no strike. Should it "
        "happen again before 500 more answers with the model are accepted, that counts as a "
        "strike; after them this one is forgiven."
    )
    assert "overclocked" in warning.advice
    assert warning.told == f"2026-11-25 12:00 UTC: {warning.happened} {warning.advice}"


@pytest.mark.parametrize(("accepted", "left"), [(1, 499), (498, 2), (499, 1), (500, None)])
def test_it_stands_until_500_answers_are_accepted(node, missed, accepted, left):
    answered(node, accepted)

    assert [each.answers_left for each in warnings(node)] == ([left] if left else [])


def test_one_more_answer_is_one(node, missed):
    answered(node, 499)

    assert "before 1 more answer with the model" in warnings(node)[0].happened


@pytest.mark.parametrize(("accepted", "is_counted"), [(499, True), (500, False)])
def test_the_number_told_is_the_one_that_counts(node, missed, client_user, accepted, is_counted):
    """With one answer left another is a strike; with none left it is a warning."""
    answered(node, accepted)
    told = bool(warnings(node))
    job = factories.make_job(client_user, model=missed.job.model_id)
    again = work_of(node, job)

    with transaction.atomic():
        faults.record(replicas=[again], model_id=job.model_id, cause=Strike.Cause.NEAR, now=NOW)
    strikes.enforce(now=NOW)

    assert Strike.objects.get(replica=again).is_counted is is_counted is told


def work_of(node: Node, job) -> Replica:
    return Replica.objects.create(
        chunk=job.chunks.get(),
        job=job,
        node=node,
        operator=node.owner,
        state=Replica.State.REJECTED,
        nonce="n",
        assigned_at=NOW,
        lease_expires_at=NOW,
        reported_at=NOW + timedelta(seconds=1),
        answer=[[list(work.NEARLY)]],
        reward_minor=1,
        fee_minor=1,
    )


def test_a_lie_is_no_warning(client_user, node):
    refusals.refused(client_user, [node, *factories.make_fleet(4)])

    assert Strike.objects.filter(node=node).exists()
    assert warnings(node) == []


def test_one_that_counts_is_told_on_the_work_and_not_as_a_warning(node, missed):
    Strike.objects.filter(replica=missed).update(is_counted=True)

    view = shown(missed)

    assert warnings(node) == []
    assert view.near_miss.is_strike
    assert "shortly before, so this one counts as a strike." in view.near_miss.text


def test_one_taken_back_or_not_carried_out_is_not_told(node, missed):
    for fields in ({"overturned_at": NOW}, {"overturned_at": None, "enforced_at": None}):
        Strike.objects.filter(replica=missed).update(**fields)

        assert warnings(node) == []
        assert shown(missed).near_miss is None


def shown(replica: Replica) -> queries.ReplicaView:
    (row,) = queries.replica_rows(replica.node_id).filter(pk=replica.pk)
    (view,) = queries.replica_views([row], now=NOW)
    return view


def test_the_work_says_it_as_well_also_when_it_is_forgiven(node, missed):
    assert shown(missed).near_miss == warnings(node)[0]
    answered(node, 500)

    assert shown(missed).near_miss.happened.endswith("It was a warning, and is forgiven.")


def test_other_work_says_nothing_and_costs_no_query(client_user, node, django_assert_num_queries):
    refused = refusals.refused(client_user, [node, *factories.make_fleet(4)])
    rows = queries.replica_rows(node.pk)

    with django_assert_num_queries(4):
        (view,) = queries.replica_views(rows, now=NOW)

    assert (view.id, view.near_miss) == (str(refused.pk), None)


def test_nobody_else_is_told_of_or_named(node, missed, stranger):
    other = factories.make_node(stranger)

    assert warnings(other) == []
    (warning,) = warnings(node)
    others = missed.job.replicas.exclude(pk=missed.pk)
    for name in others.values_list("node__name", flat=True):
        assert name not in warning.text
    for secret in (*others.values_list("node_id", flat=True), missed.job_id):
        assert secret not in repr(warning)


def test_a_nodes_view_holds_its_warnings(node, missed, django_assert_num_queries):
    view = node_views.of_node(Node.objects.get(pk=node.pk), now=NOW + timedelta(days=1))

    assert [warning.replica_id for warning in view.warnings] == [str(missed.pk)]
    everybody = list(Node.objects.values_list("pk", flat=True))
    with django_assert_num_queries(1):
        assert list(near_misses.standing(everybody)) == [node.pk]
