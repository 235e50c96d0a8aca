"""Celery entry points: load nothing, read the clock, make one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from tasks import broker, scheduling, sweeps


@shared_task(name="tasks.sweep", acks_late=True)
def sweep(**_: Any) -> None:
    """Put right what was lost."""
    sweeps.sweep(now=datetime.now(UTC))


@shared_task(name="tasks.schedule", acks_late=True)
def schedule(*, job_ids: Sequence[str], **_: Any) -> None:
    """Look for nodes for these jobs."""
    scheduling.assign_ready(now=datetime.now(UTC), job_ids=job_ids)


@shared_task(
    name="tasks.revoke_node",
    acks_late=True,
    autoretry_for=(broker.BrokerUnavailable,),
    max_retries=20,
    retry_backoff=2,
    retry_backoff_max=30,
    retry_jitter=True,
)
def revoke_node(*, node_id: str, **_: Any) -> None:
    """Take the node's broker access away."""
    broker.revoke_node(node_id=node_id)
