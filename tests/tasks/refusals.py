"""Work that was refused, through the services: one node saw something else than the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from payments import ledger
from tasks import scheduling
from tasks.models import Chunk, Credibility, GoldItem, Job, Node, Replica
from tasks.verification import strikes, verdicts
from tests import factories
from tests.tasks import work

NOW = work.NOW
#: What a referee finds that agrees with the many.
RIGHT = [[list(work.FOUND)]]


def disputed(client: Any, nodes: Sequence[Node], **fields: Any) -> Replica:
    """Return the answer of `nodes[0]`, which differs from those of the others.

    Three nodes leave the chunk undecided, with five the others carry it.
    """
    job = factories.make_job(client, **{"target_error": "1e-2", **fields})
    factories.announce(job, nodes=nodes)
    while job.chunks.get().state == Chunk.State.OPEN and scheduling.assign_ready(now=NOW):
        work.take(
            *(
                work.report_of(row, work.ELSEWHERE if row.node_id == nodes[0].pk else work.FOUND)
                for row in work.leased(job)
            )
        )
    return job.replicas.get(node=nodes[0])


def referee_says(job: Job, answer: Any, *, error: str = "", now: datetime = NOW) -> None:
    """Let the referee's word come, and everything that follows from it."""
    chunk = job.chunks.get()
    Chunk.objects.filter(pk=chunk.pk, referee_at=None).update(
        referee_at=now, referee_answer=answer, referee_error=error
    )
    verdicts.advance(chunk_id=chunk.pk, now=now)
    strikes.enforce(now=now)
    while ledger.post_intents(limit=1000, now=now):
        pass


def refused(client: Any, nodes: Sequence[Node], **fields: Any) -> Replica:
    """Return the work of `nodes[0]`, refused after the referee confirmed the others."""
    replica = disputed(client, nodes, **fields)
    referee_says(replica.job, RIGHT)
    return Replica.objects.get(pk=replica.pk)


def nearly(client: Any, nodes: Sequence[Node], *, checks: int, **fields: Any) -> Replica:
    """Return the work of `nodes[0]`, which the referee found nearly right; it had passed checks."""
    model = fields.pop("model", None) or factories.make_model().pk
    known(nodes[0], model, checks=checks)
    job = factories.make_job(client, model=model, **{"target_error": "1e-4", **fields})
    factories.announce(job, nodes=nodes)
    scheduling.assign_ready(now=NOW)
    work.take(
        *(
            work.report_of(row, work.NEARLY if row.node_id == nodes[0].pk else work.FOUND)
            for row in work.leased(job)
        )
    )
    referee_says(job, RIGHT)
    return job.replicas.get(node=nodes[0])


def unheard(client: Any, nodes: Sequence[Node], **fields: Any) -> Replica:
    """Return the work of `nodes[0]`, refused by the many; the referee could say nothing."""
    replica = disputed(client, nodes, **fields)
    referee_says(replica.job, None, error="model_died")
    return Replica.objects.get(pk=replica.pk)


def known(node: Node, model_id: str, *, checks: int) -> Credibility:
    """Give a node a record for the model."""
    return Credibility.objects.create(node=node, model_id=model_id, checks_tenths=10 * checks)


def make_gold(model: Any, *, expected: Any = (work.FOUND,), **fields: Any) -> GoldItem:
    """Make a gold picture of 60 x 44 pixels."""
    blob = factories.blobs.put(factories.picture(size=(60, 44)), media_type="image/png")
    return GoldItem.objects.create(
        model=model,
        blob=blob,
        width=60,
        height=44,
        expected=[list(found) for found in expected],
        **fields,
    )
