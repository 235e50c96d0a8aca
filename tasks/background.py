"""Celery entry points: load nothing, read the clock, make one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from tasks import admission, hedging, referee, scheduling, sweeps
from tasks.verification import gold


@shared_task(name="tasks.sweep", acks_late=True)
def sweep(**_: Any) -> None:
    """Put right what was lost."""
    sweeps.sweep(now=datetime.now(UTC))


@shared_task(name="tasks.hedge", acks_late=True)
def hedge(**_: Any) -> None:
    """Give late work to a second node."""
    hedging.hedge(now=datetime.now(UTC))


@shared_task(name="tasks.referee", acks_late=True)
def decide_as_referee(*, chunk_id: int, **_: Any) -> None:
    """Compute a disputed chunk here."""
    referee.run(chunk_id=chunk_id, now=datetime.now(UTC))


@shared_task(name="tasks.make_gold", acks_late=True)
def make_gold(**_: Any) -> None:
    """Keep a stock of pictures whose answer is known."""
    gold.make(now=datetime.now(UTC))


@shared_task(name="tasks.schedule", acks_late=True)
def schedule(*, job_ids: Sequence[str], **_: Any) -> None:
    """Look for nodes for these jobs."""
    scheduling.assign_ready(now=datetime.now(UTC), job_ids=job_ids)


@shared_task(name="tasks.restore_queue", acks_late=True)
def restore_queue(*, node_id: str, **_: Any) -> None:
    """Make the node's queue again, should it have expired."""
    admission.restore_queue(node_id=node_id)
