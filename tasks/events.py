"""What happened to a job, in the client's words; written in the change's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasks.models import JobEvent
from tasks.reasons import EventCode


def record(*, job_id: str, code: EventCode, now: datetime, detail: dict[str, Any]) -> None:
    """Add one event to the job's history."""
    JobEvent.objects.create(job_id=job_id, code=code, detail=detail, created_at=now)
