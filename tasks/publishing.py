"""Hand a message to the broker within seconds, or say why that cannot be done.

A broker that is short of memory or disk keeps publishers waiting for as long as that lasts.
Requests and sweeps must not wait with them: the rows are written, and `tasks.sweeps` sends
again what could not leave.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tasks.celery import app
from workers.protocol.alarms import BrokerBlocked

#: How long the broker may take to accept a message, then to confirm it.
TIMEOUT_SECONDS = 5
RETRY_POLICY = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3}
#: For so long a broker in distress is left alone, seconds.
PAUSE_SECONDS = 5.0


class _Pause:
    """Until when this process does not publish. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0

    def check(self) -> None:
        with self._lock:
            if time.monotonic() < self._until:
                raise BrokerBlocked

    def begin(self) -> None:
        with self._lock:
            self._until = time.monotonic() + PAUSE_SECONDS


_pause = _Pause()


def send(task: str, **options: Any) -> None:
    """Publish a Celery message of the platform's own and wait for the confirmation.

    Raises:
        BrokerBlocked: the broker is short of memory or disk, or was a moment ago.
        kombu.exceptions.OperationalError, OSError: it is away, or did not confirm in time.
    """
    _pause.check()
    with app.producer_or_acquire() as producer:
        try:
            app.send_task(
                task,
                producer=producer,
                declare=[],
                ignore_result=True,
                retry_policy=RETRY_POLICY,
                timeout=TIMEOUT_SECONDS,
                confirm_timeout=TIMEOUT_SECONDS,
                **options,
            )
        except BrokerBlocked:
            _pause.begin()
            # A connection is told once only: kept, the next message would wait in silence.
            producer.connection.collect()
            raise
