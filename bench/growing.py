"""What a chunk costs in the database, step by step; one process with one database.

Called by `bench.databases` as `growing.fill()` with a number of past chunks on the command
line, and by `bench.growth` as `growing.main()`, whose last line is JSON: step -> microseconds
a chunk; both with the database that DATABASE_URL names. The statements are those that ingest,
scheduler and poster run, through the same functions; nothing is sent, for that costs the same
with any past.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from bench import history
from payments import ledger
from tasks import leases
from tasks.models import CatalogModel, Chunk, Dataset, Node, Replica
from tasks.verification import finality
from workers.protocol import messages

NODES = 8
#: Chunks measured: some before them warm caches and plans.
CHUNKS = 800
WARM_UP = 200


def measure() -> dict[str, float]:
    """Run a job's chunks through every step; return microseconds a chunk by step."""
    now = datetime.now(UTC)
    scene = _scene()
    Node.objects.update(last_seen_at=now)
    job_id = history.submit(scene, now=now)
    spent, done = Counter[str](), 0
    while done < WARM_UP + CHUNKS:
        if done == WARM_UP:
            spent.clear()
        done += _batch(spent, job_id, now=now)
        now += timedelta(seconds=1)
    later = now + timedelta(days=8)
    Chunk.objects.filter(job=job_id, state="provisional").update(settles_at=now)
    spent["settle"] = 0
    while _timed(spent, "settle", lambda: finality.settle(now=later)):
        pass
    _timed(spent, "mature", lambda: ledger.mature(limit=10_000, now=later))
    parts = {"settle": done, "mature": done}
    return {step: seconds * 1e6 / parts.get(step, CHUNKS) for step, seconds in spent.items()}


def _batch(spent: Counter[str], job_id: str, *, now: datetime) -> int:
    """Take as many chunks as all slots hold from ready to paid; return how many."""
    made = _timed(spent, "schedule", lambda: history.schedule(job_id, now=now))
    sent = history.reports_of(made, now=now)
    beats = _beats(made, now=now)
    _timed(spent, "renew", lambda: _renew(beats, now=now))
    _timed(spent, "accept", lambda: history.accept(sent, now=now))
    _timed(spent, "post", lambda: ledger.post_intents(limit=10_000, now=now))
    assert len(made) == NODES * history.SLOTS, "every slot was free"
    return len(made)


def _timed(spent: Counter[str], step: str, act: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = act()
    spent[step] += time.perf_counter() - started  # type: ignore[assignment]  # a sum of seconds
    return result


def _beats(replica_ids: list[int], *, now: datetime) -> list[messages.Heartbeat]:
    named: dict[str, list[str]] = {}
    for pk, node_id in Replica.objects.filter(pk__in=replica_ids).values_list("pk", "node"):
        named.setdefault(node_id, []).append(str(pk))
    return [
        messages.Heartbeat(
            sent_at=now, node=node_id, running=running, slots=history.SLOTS, cached_models=[]
        )
        for node_id, running in named.items()
    ]


def _renew(beats: list[messages.Heartbeat], *, now: datetime) -> None:
    with transaction.atomic():
        leases.renew(beats, now=now)
        connection.run_on_commit.clear()


def _scene() -> history.Scene:
    """Return the scene that `fill` left."""
    dataset = Dataset.objects.get(name="bench")
    return history.Scene(
        client_id=dataset.owner_id,
        model_id=CatalogModel.objects.get(slug="light").pk,
        dataset_id=dataset.pk,
        node_ids=list(Node.objects.order_by("pk").values_list("pk", flat=True)),
    )


def fill() -> None:
    """Give an empty database its past."""
    history.fill(history.prepare(nodes=NODES, now=datetime.now(UTC)), chunks=int(sys.argv[1]))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def main() -> None:
    """Measure and print."""
    print(json.dumps(measure()))
