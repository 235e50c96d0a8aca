"""What happened to a job, in the client's words; written in the change's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.models import JobEvent
from tasks.reasons import EventCode


def record(*, job_id: str, code: EventCode, now: datetime, detail: dict[str, Any]) -> None:
    """Add one event to the job's history."""
    JobEvent.objects.create(job_id=job_id, code=code, detail=detail, created_at=now)


def record_all(
    *,
    job_ids: Sequence[str],
    code: EventCode,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down the same thing for several jobs, in one statement."""
    JobEvent.objects.bulk_create(
        [
            JobEvent(job_id=job_id, code=code, detail=dict(detail or {}), created_at=now)
            for job_id in job_ids
        ]
    )
