"""What pages and the API show, and how many queries it takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from payments import ledger
from tasks import fleet, jobs, node_views, nodes, queries
from tasks.models import Job, Node, Replica
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)


@pytest.fixture
def operators(db):
    return factories.make_fleet(2, slots=4)


@pytest.fixture
def job(client_user, operators) -> Job:
    """Two pictures: the first is decided after two seconds, the second is at work."""
    job = work.start(client_user, operators, images=2)
    first = [row for row in work.leased(job) if row.chunk.index == 0]
    work.take(*map(work.report_of, first), now=work.NOW + 2 * SECOND)
    return Job.objects.select_related("dataset", "model").get(pk=job.pk)


def test_a_job_as_its_client_sees_it(job, now):
    view = queries.job_view(job)

    assert (view.id, view.kind, view.state, view.is_over) == (job.pk, "detect", "running", False)
    assert (view.items_total, view.items_provisional, view.items_failed) == (2, 1, 0)
    assert (view.acks_count, view.first_ack_ms, view.slowest_ack_ms) == (2, 50, 50)
    assert (view.first_result_ms, view.submitted_at, view.finished_at) == (2000, now, None)
    assert (view.replicas, view.replicas_planned, view.disagreements) == (4, 2, 0)
    assert (view.dataset_name, view.model_name) == ("photos", "Tiny detector")
    assert (view.price_minor, view.held_minor, view.spent_minor) == (220_000, 220_000, 0)
    ledger.post_intents(limit=100, now=now)
    view = queries.job_view(job)
    assert (view.held_minor, view.spent_minor, view.returned_minor) == (110_000, 110_000, 0)


def test_a_waiting_job_says_why_in_words(client_user, now):
    job = factories.make_job(client_user)
    paused = jobs.pause(job_id=job.pk, now=now)

    view = queries.job_view(paused)

    assert (view.reason, view.reason_text) == ("paused_by_client", "You paused this job.")
    assert (view.acks_count, view.first_ack_ms, view.slowest_ack_ms) == (0, None, None)
    assert view.first_result_ms is None


def test_a_cancelled_job_is_over(job, now):
    view = queries.job_view(jobs.cancel(job_id=job.pk, now=now + 3 * SECOND))

    assert (view.state, view.is_over, view.finished_at) == ("cancelled", True, now + 3 * SECOND)
    assert (view.held_minor, view.spent_minor, view.returned_minor) == (0, 220_000, 0)


def test_a_job_takes_six_queries(job, django_assert_num_queries):
    with django_assert_num_queries(6):
        queries.job_view(job)


def test_acks_come_in_order_and_do_not_name_the_nodes(job, operators, now, stranger):
    late = factories.make_node(stranger)
    factories.announce(job, nodes=[late], now=now - SECOND)

    acks = queries.job_acks(job.pk)

    assert [ack.alias for ack in acks] == ["node 1", "node 2", "node 3"]
    assert acks[0].received_at < acks[1].received_at
    assert not any(node.pk in repr(acks) for node in [late, *operators])


def test_undecided_chunks_come_first(job, django_assert_num_queries):
    with django_assert_num_queries(2):
        open_one, decided = queries.job_chunks(job.pk, limit=10)

    assert (open_one.index, open_one.state, open_one.replicas) == (1, "open", ["leased"] * 2)
    assert (decided.index, decided.state, decided.replicas) == (0, "provisional", ["accepted"] * 2)
    assert (open_one.wanted, open_one.granted, open_one.reason) == (2, 2, "")
    assert queries.job_chunks(job.pk, limit=1) == [open_one]


def test_a_node_as_its_operator_sees_it(job, operators, now):
    ledger.post_intents(limit=100, now=now)

    view = node_views.of_node(operators[0], now=now)

    assert (view.id, view.state, view.reason, view.running) == (operators[0].pk, "online", "", 1)
    assert (view.accepted, view.rejected, view.lost) == (1, 0, 0)
    assert (view.pending_minor, view.available_minor, view.paid_minor) == (50_000, 0, 0)
    ledger.mature(now=now + timedelta(days=8), limit=100)
    view = node_views.of_node(operators[0], now=now)
    assert (view.pending_minor, view.available_minor) == (0, 50_000)


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ({}, "online", "no_work"),
        ({"reason": "model_downloading"}, "online", "model_downloading"),
        ({"reason": "paused_locally"}, "paused", "paused_locally"),
        ({"state": Node.State.PAUSED}, "paused", "paused_on_page"),
        ({"state": Node.State.SUSPENDED}, "suspended", "suspended"),
        ({"state": Node.State.RETIRED}, "retired", "retired"),
        ({"last_seen_at": None}, "offline", "offline"),
        ({"last_seen_at": work.NOW - fleet.ONLINE - SECOND}, "offline", "offline"),
        ({"last_seen_at": work.NOW - fleet.ONLINE}, "online", "no_work"),
    ],
)
def test_a_nodes_state_and_reason(operator, now, fields, state, reason):
    view = node_views.of_node(factories.make_node(operator, **fields), now=now)

    assert (view.state, view.reason) == (state, reason)
    assert view.reason_text.endswith(".")


def test_an_operator_sees_their_own_nodes_newest_first(operator, stranger, now):
    older, newer = (factories.make_node(operator) for _ in range(2))
    Node.objects.filter(pk=older.pk).update(enrolled_at=now - timedelta(days=1))
    factories.make_node(stranger)

    views = node_views.of_owner(operator.pk, now=now)

    assert [view.id for view in views] == [newer.pk, older.pk]


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_silent_nodes_takes_five_queries(
    operator, now, count, django_assert_num_queries
):
    for _ in range(count):
        factories.make_node(operator, last_seen_at=None)

    with django_assert_num_queries(5):
        node_views.of_owner(operator.pk, now=now)


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_idle_nodes_takes_two_more_to_see_that_no_work_waits(
    operator, now, count, django_assert_num_queries
):
    for _ in range(count):
        factories.make_node(operator)

    with django_assert_num_queries(7):
        node_views.of_owner(operator.pk, now=now)


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_idle_nodes_takes_ten_to_say_why_others_get_the_work(
    operator, client_user, now, count, django_assert_num_queries
):
    nodes = [factories.make_node(operator) for _ in range(count)]
    for _ in range(count):
        job = factories.make_job(client_user)
        job.chunks.update(numeric_class="another")
        factories.announce(job, nodes=nodes)

    with django_assert_num_queries(15):
        views = node_views.of_owner(operator.pk, now=now)

    assert {view.reason for view in views} == {"no_work_for_class"}


def test_one_silent_node_takes_four_queries(operator, now, django_assert_num_queries):
    node = factories.make_node(operator, last_seen_at=None)

    with django_assert_num_queries(4):
        node_views.of_node(node, now=now)


def test_a_nodes_work_shows_what_it_answered_and_earned(job, operators, now):
    nodes.retire(node_id=operators[0].pk, now=now)

    views = queries.replica_views(list(queries.replica_rows(operators[0].pk)), now=now)

    accepted, lost = sorted(views, key=lambda view: view.chunk_index)
    assert (accepted.state, accepted.reward_minor, accepted.reward_state) == (
        "accepted",
        50_000,
        "pending",
    )
    assert (accepted.items, accepted.compute_ms) == (1, 120)
    assert accepted.released_at == now + timedelta(days=7, seconds=2)
    (image,) = accepted.images
    assert (image.name, image.width, image.height) == ("Picture 1", 64, 48)
    assert image.detections == [{"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]}]
    assert (lost.state, lost.reason, lost.reward_minor, lost.reward_state) == (
        "lost",
        "node_removed",
        0,
        "",
    )
    assert lost.reason_text == "The node was retired, suspended or quarantined."
    assert lost.images[0].detections == []


@pytest.mark.parametrize("images", [1, 4])
def test_any_amount_of_work_takes_four_queries(
    client_user, operators, images, now, django_assert_num_queries
):
    work.start(client_user, operators, images=images)
    rows = queries.replica_rows(operators[0].pk)

    with django_assert_num_queries(4):
        views = queries.replica_views(rows, now=work.NOW)

    assert len(views) == images == Replica.objects.filter(node=operators[0]).count()
