"""Rows that pages show: jobs with acks and results, work of a node."""

from __future__ import annotations

from datetime import datetime, timedelta

from payments import ledger
from tasks.models import Ack, Chunk, Job, Node, Replica
from tasks.verification import verdicts
from tests import factories

#: class id, score, x, y, width, height on a picture of 64 x 48 pixels.
PERSON = [1, 0.9, 4.0, 5.0, 20.0, 30.0]
CAT = [17, 0.4, 30.0, 10.0, 16.0, 12.0]


def acknowledge(job: Job, nodes: list[Node], *, latencies_ms: list[int], now: datetime) -> None:
    """Let each node acknowledge the job after its own time."""
    Job.objects.filter(pk=job.pk).update(announced_at=now)
    for node, latency_ms in zip(nodes, latencies_ms, strict=True):
        received_at = now + timedelta(milliseconds=latency_ms)
        Ack.objects.create(job=job, node=node, received_at=received_at, latency_ms=latency_ms)


def answer(chunk: Chunk, nodes: list[Node], *, now: datetime) -> None:
    """Let the nodes answer a chunk alike, have it decided, and post the rewards."""
    job = chunk.job
    for node in nodes:
        Replica.objects.create(
            chunk=chunk,
            job=job,
            node=node,
            operator=node.owner,
            state=Replica.State.REPORTED,
            nonce="n",
            assigned_at=now,
            lease_expires_at=now + timedelta(seconds=45),
            reported_at=now,
            answer=[[PERSON, CAT] for _ in range(chunk.items_count)],
            compute_ms=120,
            reward_minor=job.reward_image_minor * chunk.items_count,
            fee_minor=job.fee_image_minor * chunk.items_count,
        )
    Chunk.objects.filter(pk=chunk.pk).update(granted=len(nodes), wanted=len(nodes))
    verdicts.advance(chunk_id=chunk.pk, now=now)
    while ledger.post_intents(limit=1000, now=now):
        pass


def finished_job(
    owner, nodes: list[Node], *, images: int = 2, now: datetime = factories.NOW
) -> Job:
    """Buy a job and have two nodes of different owners do all of it."""
    job = factories.make_job(
        owner, images=images, score_threshold=0.3, target_error="1e-2", now=now
    )
    acknowledge(job, nodes, latencies_ms=[40 * (n + 1) for n in range(len(nodes))], now=now)
    for chunk in job.chunks.order_by("index"):
        answer(chunk, nodes[:2], now=now)
    return Job.objects.get(pk=job.pk)
