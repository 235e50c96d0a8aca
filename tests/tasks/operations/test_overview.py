"""What staff see: each figure, each gate, a fixed number of queries, a broker that is away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks import broker, queues, scheduling, sweeps
from tasks.models import Chunk, Credibility, GoldItem, Job, Node, Replica
from tasks.operations import gates, messages, overview
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
NAMES = [queue.name for queue in queues.PLATFORM_QUEUES]


@pytest.fixture
def nodes():
    return factories.make_fleet(3, slots=1)


def test_an_empty_platform_shows_nothing(now):
    seen = overview.take(now=now)

    assert [(row.state, row.count, row.oldest_open_at) for row in seen.jobs] == [
        ("queued", 0, None),
        ("running", 0, None),
        ("paused", 0, None),
    ]
    assert set(seen.nodes.values()) == {0}
    assert (seen.gates.chunks, seen.gates.grants, seen.gates.by_gate) == (0, 0, {})
    assert (seen.trust, seen.gold, seen.platform.swept_at) == ([], [], None)


def test_jobs_show_their_oldest_chunk_and_report(client_user, nodes, now):
    work.start(client_user, nodes, now=now)
    second = factories.make_job(client_user, now=now + SECOND)
    factories.make_job(client_user, now=now + 2 * SECOND)
    replica = Replica.objects.order_by("pk")[0]
    work.take(work.report_of(replica), now=now + 5 * SECOND)

    queued, running, paused = overview.take(now=now).jobs

    assert (queued.count, queued.oldest_open_at, queued.oldest_undecided_at) == (
        2,
        second.submitted_at,
        None,
    )
    assert (running.count, running.oldest_open_at) == (1, now)
    assert running.oldest_undecided_at == now + 5 * SECOND
    assert (paused.count, paused.oldest_open_at, paused.oldest_undecided_at) == (0, None, None)


def test_work_under_way_is_counted(client_user, nodes, now):
    job = work.start(client_user, nodes, images=2)

    seen = overview.take(now=now).work

    assert (seen.chunks_open, seen.replicas_leased) == (job.chunks.count(), 3)
    assert (seen.replicas_undecided, seen.chunks_checking, seen.chunks_stirred) == (0, 0, 0)


def test_counting_stops_at_its_limit(client_user, monkeypatch, now):
    factories.make_job(client_user, images=3)
    monkeypatch.setattr(overview, "COUNT_MAX", 2)

    assert overview.take(now=now).work.chunks_open == 2


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "online"),
        ({"reason": "battery"}, "online"),
        ({"state": Node.State.PAUSED}, "paused"),
        ({"reason": "paused_locally"}, "paused"),
        ({"reason": "offline"}, "offline"),
        ({"last_seen_at": None}, "offline"),
        ({"last_seen_at": work.NOW - timedelta(hours=1)}, "offline"),
        ({"clock_skew_ms": -10_000_000}, "offline"),
        ({"drained_at": work.NOW}, "drained"),
        ({"drained_at": work.NOW, "quarantined_at": work.NOW}, "quarantined"),
        ({"state": Node.State.SUSPENDED, "drained_at": work.NOW}, "suspended"),
        ({"state": Node.State.RETIRED}, "retired"),
    ],
)
def test_each_node_is_counted_in_one_state(operator, now, fields, state):
    factories.make_node(operator, **fields)

    counted = overview.take(now=now).nodes

    assert {name: count for name, count in counted.items() if count} == {state: 1}
    assert list(counted) == list(overview.NODE_STATES)


def test_trust_is_counted_by_model(nodes, now):
    first, second = factories.make_model(name="A"), factories.make_model(name="B")
    state = Credibility.State
    for node, model, fields in [
        (nodes[0], first, {"state": state.TRUSTED}),
        (nodes[1], first, {"state": state.TRUSTED, "quarantined_at": now}),
        (nodes[2], first, {"state": state.QUARANTINED, "barred_until": now}),
        (nodes[0], second, {}),
    ]:
        Credibility.objects.create(node=node, model=model, **fields)

    seen = overview.take(now=now).trust

    assert [(row.model_name, dict(row.states)) for row in seen] == [
        ("A 1", {"quarantined": 1, "trusted": 1, "watched": 1}),
        ("B 1", {"probation": 1}),
    ]


def test_the_referees_budget_and_backlog(client_user, now, settings):
    settings.REFEREE_IMAGES_PER_HOUR = 100
    job = factories.make_job(client_user, images=2)
    one, other = job.chunks.order_by("index")
    Chunk.objects.filter(pk=one.pk).update(referee_asked_at=now - 9 * SECOND)
    Chunk.objects.filter(pk=other.pk).update(referee_asked_at=now, referee_at=now)

    seen = overview.take(now=now).referee

    assert (seen.budget_images, seen.spent_images) == (100, other.items_count)
    assert (seen.backlog_chunks, seen.backlog_images) == (1, one.items_count)
    assert seen.oldest_asked_at == now - 9 * SECOND


def test_gold_is_counted_by_model(client_user, now):
    job = factories.make_job(client_user, images=3)
    images = [item.image for item in job.items.select_related("image")]
    for image, uses in zip(images, [0, 0, 3], strict=True):
        GoldItem.objects.create(
            model=job.model, blob=image.blob, width=64, height=48, expected=[], uses=uses
        )

    (seen,) = overview.take(now=now).gold

    assert (seen.model_id, seen.unused, seen.in_use, seen.wanted) == (job.model_id, 2, 1, 40)


def test_a_sweep_says_when_it_ended_and_what_it_found(client_user, nodes, now):
    work.start(client_user, nodes)

    swept = sweeps.sweep(now=now + 20 * SECOND)

    seen = overview.take(now=now).platform
    assert seen.swept_at == now + 20 * SECOND
    assert seen.swept["resent"] == swept.resent == 2
    sweeps.sweep(now=now + 30 * SECOND)
    assert overview.take(now=now).platform.swept_at == now + 30 * SECOND


def test_gates_say_why_chunks_wait(client_user, nodes, now):
    """Two fresh nodes have a chunk; a third owner's node is asked for the other and is free."""
    job = work.start(client_user, nodes[:2], images=2)
    factories.announce(job, nodes=nodes[2:])
    Credibility.objects.create(node=nodes[2], model=job.model, quarantined_at=now)

    seen = overview.take(now=now).gates

    assert (seen.chunks, seen.nodes, seen.grants) == (1, 1, 0)
    assert dict(seen.by_gate) == {"barred": 1}
    assert seen.rows == [("barred", 1, gates.WORDS["barred"])]


def test_looking_gives_nothing_out(client_user, nodes, now):
    job = factories.make_job(client_user)
    factories.announce(job, nodes=nodes)
    before = work.everything()

    seen = overview.take(now=now).gates

    assert (seen.chunks, seen.nodes, seen.grants, seen.by_gate) == (1, 3, 2, {})
    assert work.everything() == before
    assert len(scheduling.assign_ready(now=now)) == 2


def test_jobs_that_nobody_acknowledged_are_told_apart(client_user, now):
    factories.make_job(client_user, images=3)

    assert dict(overview.take(now=now).gates.by_gate) == {"no_node": 3}


def test_a_slow_node_that_is_at_work_is_told_as_the_gate_it_is(client_user, now):
    (node,) = factories.make_fleet(1, slots=2)
    model = factories.make_model()
    Credibility.objects.create(node=node, model=model, checks_tenths=5000, image_ms=20_000.0)
    job = factories.make_job(client_user, images=2, model=model.pk)
    factories.announce(job, nodes=[node])
    assert len(scheduling.assign_ready(now=now)) == 1

    assert dict(overview.take(now=now).gates.by_gate) == {"slow": 1}


def test_every_gate_of_the_matching_has_its_words():
    assert set(gates.matching.Refusal.__args__) <= set(gates.WORDS)


def queries_of(now) -> int:
    with CaptureQueriesContext(connection) as context:
        overview.take(now=now)
        overview.waiting_jobs()
        overview.kept_back_nodes()
        overview.actions()
    return len(context)


def test_looking_costs_as_many_queries_for_much_as_for_little(nodes, now):
    def more(images: int) -> None:
        trust.keep_busy(images=images)
        factories.make_node(nodes[0].owner, drained_at=now)

    more(images=3)
    few = queries_of(now)
    for _ in range(3):
        more(images=4)

    assert queries_of(now) == few
    assert few <= 36


def test_kept_back_nodes_and_open_jobs_are_named(client_user, operator, now):
    drained = factories.make_node(operator, drained_at=now)
    suspended = factories.make_node(operator, state=Node.State.SUSPENDED, last_seen_at=None)
    factories.make_node(operator, state=Node.State.RETIRED, drained_at=now)
    factories.make_node(operator)
    later = factories.make_job(client_user, now=now + SECOND)
    first = factories.make_job(client_user, now=now)
    Job.objects.filter(pk=factories.make_job(client_user).pk).update(state=Job.State.FINISHED)

    assert {node.pk for node in overview.kept_back_nodes()} == {drained.pk, suspended.pk}
    assert [job.pk for job in overview.waiting_jobs()] == [first.pk, later.pk]


def test_the_embedded_broker_tells_depths_alone(settings, tmp_path):
    settings.BROKER_URL = f"filebroker://{tmp_path}/broker"
    broker.declare_topology()

    seen = messages.queues()

    assert seen.source == "embedded"
    assert [(queue.name, queue.ready) for queue in seen.queues] == [(name, 0) for name in NAMES]
    assert {(queue.unacknowledged, queue.consumers) for queue in seen.queues} == {(None, None)}


@pytest.mark.rabbitmq
def test_the_management_tells_of_each_queue():
    seen = messages.queues()

    assert seen.source == "management"
    assert [queue.name for queue in seen.queues] == NAMES
    assert {queue.oldest_at for queue in seen.queues} == {None}


@pytest.mark.rabbitmq
def test_without_the_management_a_connection_tells_depths(settings):
    settings.BROKER_MANAGEMENT_URL = "http://guest:guest@127.0.0.1:9"

    seen = messages.queues()

    assert seen.source == "connection"
    assert [queue.name for queue in seen.queues] == NAMES
    assert {queue.consumers for queue in seen.queues} == {None}


def test_a_broker_that_is_away_is_said_and_stops_nothing(settings, now):
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:9//"
    settings.BROKER_MANAGEMENT_URL = "http://guest:guest@127.0.0.1:9"

    seen = overview.take(now=now).queues

    assert (seen.source, list(seen.queues)) == ("none", [])
