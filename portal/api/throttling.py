"""Rate limits: a counter per caller and window in the cache, and when to come back.

DRF's own keep a list of times per caller; this keeps one number. Counting is approximate when
several processes keep their own cache; nothing that must be exact (money, quotas) rests on it.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any, ClassVar

from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

#: Seconds by the first letter of a rate's period, as in `120/min`.
PERIODS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})


class WindowRate(BaseThrottle):
    """Counts requests in fixed windows; the rate stands in the settings under `rate_name`."""

    rate_name: ClassVar[str]

    def __init__(self) -> None:
        self.seconds_left: float = 0

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = self.caller(request)
        if caller is None:
            return True
        requests_max, seconds = _rate(self.rate_name)
        window, passed = divmod(time.time(), seconds)
        self.seconds_left = seconds - passed
        counter = f"rate:{self.rate_name}:{caller}:{int(window)}"
        cache.add(counter, 0, timeout=seconds)
        try:
            return int(cache.incr(counter)) <= requests_max
        except ValueError:  # the window ended between the two calls
            return True

    def wait(self) -> float:
        return self.seconds_left

    def caller(self, request: Request) -> str | None:
        """Return who is counted, None when this rate does not concern them."""
        raise NotImplementedError


class UserRate(WindowRate):
    """Per user, whatever key they use."""

    rate_name = "user"

    def caller(self, request: Request) -> str | None:
        return str(request.user.pk) if request.user.is_authenticated else None


class AnonymousRate(WindowRate):
    """Per address, for callers nobody knows."""

    rate_name = "anonymous"

    def caller(self, request: Request) -> str | None:
        return None if request.user.is_authenticated else self.get_ident(request)


def _rate(name: str) -> tuple[int, int]:
    # Read at each request, not at import, so that a changed setting takes effect.
    requests, _, period = str(api_settings.DEFAULT_THROTTLE_RATES[name]).partition("/")
    return int(requests), PERIODS[period[0]]
