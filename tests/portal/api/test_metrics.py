"""`GET metrics`: who may read it, what stands in it, what it costs, what happens without a broker."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from payments import ledger
from portal import metrics
from tasks import broker, queues
from tasks.models import Chunk, Job, Node, Strike
from tasks.operations import figures, gates, overview, platform
from tests import factories
from tests.portal.api import calls
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
MANUAL = Path(metrics.__file__).parents[1] / "docs" / "howto" / "watch-the-platform.md"
TOKEN = "s" * 32
SECOND = timedelta(seconds=1)
AWAY = {
    "BROKER_URL": "amqp://guest:guest@127.0.0.1:9//",
    "BROKER_MANAGEMENT_URL": "http://guest:guest@127.0.0.1:9",
}


@pytest.fixture
def token(settings) -> str:
    settings.METRICS_TOKEN = TOKEN
    return TOKEN


def ask(client, token=TOKEN, **headers):
    return calls.get(client, "metrics", Authorization=f"Bearer {token}", **headers)


def families(text: bytes):
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def values(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric by their labels' values, in the order of the labels' names."""
    samples = families(text)[f"nodefolk_{name}"].samples
    return {tuple(v for _, v in sorted(each.labels.items())): each.value for each in samples}


def taken(now) -> bytes:
    return metrics.exposition(figures.take(now=now))


def test_the_scrape_token_opens_it(client, token):
    answer = ask(client, Accept="application/openmetrics-text;version=1.0.0")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert values(answer.content, "broker_up") == {(): 1}


def test_staff_read_it_with_a_key_and_on_the_site(staff, client, token):
    client.force_login(staff)

    assert calls.get(calls.key_client(staff), "metrics").status_code == 200
    assert calls.get(client, "metrics").status_code == 200


def test_a_key_needs_the_scope_to_read(staff):
    calls.refused(calls.get(calls.key_client(staff, ["jobs"]), "metrics"), 403, "scope_missing")


def test_others_find_nothing(stranger_api, client, token):
    calls.refused(calls.get(stranger_api, "metrics"), 404, "not_found")
    calls.refused(calls.get(client, "metrics"), 401, "not_authenticated")


@pytest.mark.parametrize("wrong", ["", "s" * 31, "s" * 33, "S" * 32, "s" * 31 + "\u00e9"])
def test_a_wrong_token_is_no_key_either(client, token, wrong):
    calls.refused(ask(client, wrong), 401, "key_invalid")


@pytest.mark.parametrize("shown", ["", TOKEN])
def test_without_a_setting_no_token_opens_it(client, settings, shown):
    settings.METRICS_TOKEN = ""

    calls.refused(ask(client, shown), 401, "key_invalid")


def test_the_token_opens_nothing_else(client, token):
    for path in ("me/", "operations/", "jobs/", "wallet/"):
        answer = calls.get(client, path, Authorization=f"Bearer {TOKEN}")
        calls.refused(answer, 401, "key_invalid")


def test_work_and_nodes_are_counted(client_user, now):
    nodes = factories.make_fleet(3)
    job = work.start(client_user, nodes[:2], images=2)
    factories.make_node(nodes[0].owner, state=Node.State.SUSPENDED)

    text = taken(now)

    assert values(text, "jobs") == {("queued",): 0, ("running",): 1, ("paused",): 0}
    assert values(text, "chunks_open") == {(): job.chunks.count()}
    assert values(text, "leases") == {(): 2}
    assert {state: count for (state,), count in values(text, "nodes").items() if count} == {
        "online": 3,
        "suspended": 1,
    }


def test_ages_are_seconds_and_0_while_nothing_waits(client_user, now):
    assert values(taken(now), "job_oldest_open_age_seconds")[("queued",)] == 0
    factories.make_job(client_user, now=now)

    text = taken(now + 90 * SECOND)

    assert values(text, "job_oldest_open_age_seconds")[("queued",)] == 90
    assert values(taken(now - SECOND), "job_oldest_open_age_seconds")[("queued",)] == 0


def test_gates_that_refuse_are_counted_and_the_others_are_0(client_user, now):
    factories.make_job(client_user, images=3)

    text = taken(now)

    refused = values(text, "matching_refusals")
    assert refused.keys() == {(gate,) for gate in gates.WORDS}
    assert {gate: count for (gate,), count in refused.items() if count} == {"no_node": 3}
    assert values(text, "matching_chunks") == {(): 3}


def test_the_referees_queue(client_user, now, settings):
    settings.REFEREE_IMAGES_PER_HOUR = 70
    job = factories.make_job(client_user)
    Chunk.objects.filter(job=job).update(referee_asked_at=now - 9 * SECOND)

    text = taken(now)

    assert values(text, "referee_chunks") == {(): 1}
    assert values(text, "referee_oldest_age_seconds") == {(): 9}
    assert values(text, "referee_hour_images_max") == {(): 70}


def test_sweeps_and_drains(now):
    assert values(taken(now), "sweep_age_seconds") == {(): math.inf}
    platform.note_sweep({}, now=now)
    row = platform.read()
    row.drained_at = now
    row.save()

    text = taken(now + 7 * SECOND)

    assert values(text, "sweep_age_seconds") == {(): 7}
    assert values(text, "drained") == {(): 1}


def test_messages_that_did_not_leave(client_user, operator, now):
    job = work.start(client_user, factories.make_fleet(2))
    Job.objects.filter(pk=factories.make_job(client_user).pk).update(announced_at=None)
    factories.make_node(operator, broker_behind_since=now, state=Node.State.SUSPENDED)

    fresh = values(taken(now + 8 * SECOND), "messages_unsent")
    late = values(taken(now + 9 * SECOND), "messages_unsent")

    assert fresh == {("announcement",): 1, ("assignment",): 0, ("admission",): 1}
    assert late == {("announcement",): 1, ("assignment",): 2, ("admission",): 1}
    assert job.replicas.count() == 2


def test_movements_that_were_not_posted(client_user, now):
    job = work.start(client_user, factories.make_fleet(2, slots=2), images=2)
    work.take(*[work.report_of(row) for row in work.leased(job) if row.chunk.index == 0])

    text = taken(now + 5 * SECOND)

    ready = values(text, "intents_pending")[("ready",)]
    assert ready == 4  # two rewards, and a fee on each
    assert values(text, "intent_oldest_age_seconds") == {(): 5}
    ledger.post_intents(limit=100, now=now)
    later = taken(now + timedelta(days=8))
    assert values(later, "intents_pending") == {("ready",): 0, ("due",): 2}
    assert values(later, "intent_oldest_age_seconds") == {(): 0}


def test_strikes_and_appeals_that_wait(client_user, now):
    job = work.start(client_user, factories.make_fleet(1))
    (replica,) = job.replicas.all()
    Strike.objects.create(
        replica=replica, node=replica.node, model=job.model, cause=Strike.Cause.GOLD, created_at=now
    )

    text = taken(now)

    assert values(text, "strikes_waiting") == {(): 1}
    assert values(text, "appeals") == {("referee",): 0, ("staff",): 0}


def test_a_broker_that_is_away_is_said_and_stops_nothing(client, settings, token):
    for name, value in AWAY.items():
        setattr(settings, name, value)

    answer = ask(client)

    assert answer.status_code == 200
    assert values(answer.content, "broker_up") == {(): 0}
    assert values(answer.content, "broker_management_up") == {(): 0}
    assert values(answer.content, "queue_messages") == {}
    assert values(answer.content, "chunks_open") == {(): 0}


@pytest.mark.rabbitmq
def test_every_queue_is_told_by_the_management(now):
    text = taken(now)

    names = {queue.name for queue in queues.PLATFORM_QUEUES}
    assert values(text, "broker_management_up") == {(): 1}
    assert {name for name, _ in values(text, "queue_messages")} == names
    assert {state for _, state in values(text, "queue_messages")} == {"ready", "unacknowledged"}
    assert {name for (name,) in values(text, "queue_consumers")} == names


def test_the_embedded_broker_has_no_management(settings, tmp_path, now):
    settings.BROKER_URL = f"filebroker://{tmp_path}/broker"
    broker.declare_topology()

    text = taken(now)

    assert values(text, "broker_management_up") == {}


def test_every_metric_is_a_gauge_with_a_sentence_and_stands_in_the_manual(now):
    text = taken(now)

    found = families(text)
    manual = MANUAL.read_text()
    assert len(found) > 25
    assert {family.type for family in found.values()} == {"gauge"}
    assert [name for name in found if not re.fullmatch(r"nodefolk_[a-z]+(_[a-z]+)*", name)] == []
    assert [name for name, family in found.items() if not family.documentation.endswith(".")] == []
    assert [name for name in found if f"`{name}`" not in manual] == []
    told = set(re.findall(r"`(nodefolk_[a-z_]+)`", manual))
    assert told - set(found) == set()


def test_labels_name_no_user_node_job_or_model(client_user, now):
    nodes = factories.make_fleet(3)
    job = trust.accepted_alone(client_user, nodes, images=2)

    text = taken(now).decode()

    kinds = {
        label
        for family in families(text.encode()).values()
        for each in family.samples
        for label in each.labels
    }
    assert kinds == {"queue", "state", "gate", "kind"}
    for name in (job.pk, job.model_id, job.model.name, client_user.email, nodes[0].pk):
        assert name not in text


def queries_of(now) -> int:
    with CaptureQueriesContext(connection) as context:
        taken(now)
    return len(context)


def test_a_scrape_costs_as_many_queries_for_much_as_for_little(now):
    for _ in range(2):
        trust.keep_busy(images=3)
    few = queries_of(now)
    for _ in range(3):
        trust.keep_busy(images=4)

    assert queries_of(now) == few
    assert few <= 36


def test_counting_stops_at_its_limit(client_user, monkeypatch, now):
    factories.make_job(client_user, images=3)
    monkeypatch.setattr(overview, "COUNT_MAX", 2)

    assert values(taken(now), "chunks_open") == {(): 2}


def test_a_scrape_reads_the_clock_once(client, token, client_user):
    factories.make_job(client_user, now=timezone.now() - 50 * SECOND)

    oldest = values(ask(client).content, "job_oldest_open_age_seconds")[("queued",)]

    assert 50 <= oldest < 110
