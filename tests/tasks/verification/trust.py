"""Nodes with a record and chunks accepted on one word, for tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from payments import ledger
from payments import queries as money
from tasks import scheduling
from tasks.models import Chunk, Credibility, Job, Node, Replica, Strike
from tasks.verification import audits, faults, strikes
from tests import factories
from tests.tasks import work

NOW = factories.NOW


def accepted_alone(owner: Any, nodes: Sequence[Node], *, checks: int = 50, **fields: Any) -> Job:
    """Return a job of one picture a chunk whose every chunk `nodes[0]` has answered alone."""
    model = factories.make_model()
    Credibility.objects.create(node=nodes[0], model=model, checks_tenths=10 * checks)
    job = factories.make_job(owner, model=model.pk, target_error="1e-3", **fields)
    factories.announce(job, nodes=nodes[:1])
    scheduling.assign_ready(now=NOW)
    work.take(*map(work.report_of, work.leased(job)))
    factories.announce(job, nodes=nodes[1:])
    job.refresh_from_db()
    return job


def keep_busy(*, images: int) -> None:
    """Add a job that is done, one of twice as many images under way, and a node without work."""
    accepted_alone(factories.make_user(), factories.make_fleet(2), images=images)
    fleet = factories.make_fleet(3, slots=1)
    job = work.start(factories.make_user(), fleet[:2], images=2 * images)
    factories.announce(job, nodes=fleet[2:])


def catch(replica: Replica, *, now: Any = NOW) -> Strike:
    """Let a gold picture have shown that the node lied, and everything follow from it."""
    faults.record(
        replicas=[replica], model_id=replica.job.model_id, cause=Strike.Cause.GOLD, now=now
    )
    strikes.enforce(now=now)
    return Strike.objects.get(replica=replica)


def draw(settings: Any, chunk: Chunk, *, checks: float = 50) -> None:
    """Choose the platform's secret so that the lot falls on the chunk."""
    for number in itertools.count():
        settings.SECRET_KEY = f"secret {number}"
        if audits.is_drawn(chunk_id=chunk.pk, checks=checks):
            return


def record(node: Node, job: Job) -> Credibility:
    """Return what is believed of the node for the job's model."""
    return Credibility.objects.get(node=node, model=job.model_id)


def reward(replica: Replica) -> str:
    """Return where the replica's reward is, "" for none; everything due is posted first."""
    while ledger.post_intents(limit=1000, now=NOW):
        pass
    found = money.rewards([str(replica.pk)])
    return found[str(replica.pk)].state if found else ""
