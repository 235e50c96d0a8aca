"""Celery entry points of the ledger: read the clock, make one call."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from payments import ledger

#: Intents one run posts at most; the sweeps start the next run.
POST_LIMIT = 20_000
MATURE_LIMIT = 20_000

SOFT_SECONDS_MAX = 60
HARD_SECONDS_MAX = 90


@shared_task(
    name="payments.post_intents",
    acks_late=True,
    ignore_result=True,
    soft_time_limit=SOFT_SECONDS_MAX,
    time_limit=HARD_SECONDS_MAX,
)
def post_intents(**_later: object) -> None:
    """Post the intents that wait; arguments of later versions are ignored."""
    ledger.post_intents(limit=POST_LIMIT, now=timezone.now())


@shared_task(
    name="payments.mature",
    acks_late=True,
    ignore_result=True,
    soft_time_limit=SOFT_SECONDS_MAX,
    time_limit=HARD_SECONDS_MAX,
)
def mature(**_later: object) -> None:
    """Make rewards available whose time has come; arguments of later versions are ignored."""
    ledger.mature(now=timezone.now(), limit=MATURE_LIMIT)
