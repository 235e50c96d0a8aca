"""Small questions about assignments that both the agent and the computing side ask."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from workers.protocol import limits, messages

SKEW = timedelta(seconds=limits.CLOCK_SKEW_SECONDS_MAX)


def is_expired(assignment: messages.Assignment, *, now: datetime) -> bool:
    """Say whether it is void, even if our clock is ahead by the accepted 600 seconds."""
    return now > assignment.expires_at + SKEW


def unanswered(
    assignment: messages.Assignment,
    *,
    status: Literal["failed", "handed_back"],
    reason: str,
    numeric_class: str,
    now: datetime,
) -> messages.Report:
    """Return the report that there is no answer, because of the code `reason`."""
    return messages.Report(
        sent_at=now,
        node=assignment.node,
        assignment=assignment.assignment,
        nonce=assignment.nonce,
        model_digest=assignment.model.digest,
        status=status,
        reason=reason,
        numeric_class=numeric_class,
    )
