"""Celery entry points: load nothing, read the clock, make one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from tasks import admission, scheduling, sweeps


@shared_task(name="tasks.sweep", acks_late=True)
def sweep(**_: Any) -> None:
    """Put right what was lost."""
    sweeps.sweep(now=datetime.now(UTC))


@shared_task(name="tasks.schedule", acks_late=True)
def schedule(*, job_ids: Sequence[str], **_: Any) -> None:
    """Look for nodes for these jobs."""
    scheduling.assign_ready(now=datetime.now(UTC), job_ids=job_ids)


@shared_task(name="tasks.restore_queue", acks_late=True)
def restore_queue(*, node_id: str, **_: Any) -> None:
    """Make the node's queue again, should it have expired."""
    admission.restore_queue(node_id=node_id)
