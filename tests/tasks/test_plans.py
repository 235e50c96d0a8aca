"""With long tables behind them, hot statements still reach their rows by an index."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from bench import history
from payments import ledger
from tasks import leases, scheduling, sweeps
from tasks.models import Chunk, Job, Node, Replica
from tasks.operations import details, overview, replays
from tasks.verification import finality
from tests import factories
from workers.protocol import messages

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

CHUNKS = 50_000
#: A year of work is in these; a scan of one would grow with it.
LONG = re.compile(
    r"Seq Scan on (tasks_(?:chunk|item|replica|signedreport)|payments_(?:transfer|transferintent))\b"
)


@pytest.fixture
def scene():
    if connection.vendor != "postgresql":
        pytest.skip("plans are PostgreSQL's")
    scene = history.prepare(nodes=8, now=datetime.now(UTC))
    history.fill(scene, chunks=CHUNKS)
    return scene


class Watcher:
    """Explains every statement of a step."""

    def __init__(self) -> None:
        self.scans: dict[str, list[str]] = {}

    def run(self, name: str, step):
        with CaptureQueriesContext(connection) as context:
            result = step()
        with connection.cursor() as cursor:
            for query in context.captured_queries:
                statement = query["sql"].strip()
                if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
                    cursor.execute("EXPLAIN " + statement.replace("%", "%%"), [])
                    plan = "\n".join(line for (line,) in cursor.fetchall())
                    if found := LONG.search(plan):
                        self.scans.setdefault(name, []).append(
                            f"{found[0]}: {statement[:300]}\n{plan}"
                        )
        return result


def test_no_hot_statement_scans_a_long_table(scene):
    now = datetime.now(UTC)
    job_id = history.submit(scene, now=now)
    history.Node.objects.update(last_seen_at=now)
    watcher = Watcher()

    made = watcher.run("schedule", lambda: history.schedule(job_id, now=now))
    beats = [
        messages.Heartbeat(
            sent_at=now,
            node=node_id,
            running=[str(pk) for pk in made[:64]],
            slots=25,
            cached_models=[],
        )
        for node_id in scene.node_ids
    ]

    def renew():
        with transaction.atomic():
            leases.renew(beats, now=now)
            connection.run_on_commit.clear()

    watcher.run("renew", renew)
    sent = history.reports_of(made[:200], now=now)
    watcher.run("accept", lambda: history.accept(sent, now=now))
    watcher.run("post", lambda: ledger.post_intents(limit=1000, now=now))
    watcher.run("mature", lambda: ledger.mature(limit=1000, now=now + timedelta(days=8)))
    Chunk.objects.filter(state="provisional").update(settles_at=now)
    watcher.run("settle", lambda: finality.settle(now=now + timedelta(days=8)))
    watcher.run("sweep", lambda: sweeps.sweep(now=now + timedelta(seconds=20)))
    Replica.objects.filter(state="leased").update(lease_expires_at=now)
    watcher.run("expire", lambda: leases.expire(now=now + timedelta(minutes=5)))
    watcher.run("schedule all", lambda: scheduling.assign_ready(now=now + timedelta(minutes=5)))

    assert len(made) == 200
    assert watcher.scans == {}


def test_no_look_of_staff_and_no_replay_scans_a_long_table(scene):
    now = datetime.now(UTC)
    staff = factories.make_user("staff")
    job_id = history.submit(scene, now=now)
    history.Node.objects.update(last_seen_at=now)
    history.schedule(job_id, now=now)
    job, node = Job.objects.get(pk=job_id), Node.objects.get(pk=scene.node_ids[0])
    watcher = Watcher()

    watcher.run("look", lambda: overview.take(now=now))
    watcher.run("jobs", overview.waiting_jobs)
    watcher.run("job", lambda: details.of_job(job))
    watcher.run("node", lambda: details.of_node(node, now=now))
    watcher.run("replay", lambda: replays.replay_job(job_id=job_id, staff_id=staff.pk, now=now))

    assert watcher.scans == {}
