"""How wrong this machine's clock is, by the portal's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from workers.protocol import routes

TIMEOUT_SECONDS = 10
#: The Date header counts whole seconds, cut off.
HALF_A_SECOND = timedelta(seconds=0.5)


def skew_seconds(portal_url: str) -> float | None:
    """Return our clock minus the portal's; None when the portal does not tell.

    Wrong by up to half a second, and by half the time the request takes.
    """
    asked_at = datetime.now(UTC)
    try:
        answer = httpx.head(f"{portal_url.rstrip('/')}{routes.LIVE_PATH}", timeout=TIMEOUT_SECONDS)
        portal_at = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return None
    if portal_at.tzinfo is None:
        return None
    middle = asked_at + (datetime.now(UTC) - asked_at) / 2
    return round((middle - portal_at - HALF_A_SECOND).total_seconds(), 1)
