"""`manage.py ingest`: read what nodes send, until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections
from kombu import Connection

from tasks import arrivals, floods
from tasks.celery import app
from tasks.ingest import Ingest
from workers.protocol import tls


class Command(BaseCommand):
    """Read acks, heartbeats and reports. Several may run side by side."""

    help = "Read what nodes send: acks, heartbeats and reports."

    def handle(self, **options: Any) -> None:
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        url = settings.BROKER_INGEST_URL or settings.BROKER_URL
        connection = Connection(
            url,
            heartbeat=30,
            transport_options=app.conf.broker_transport_options,
            ssl=tls.options(url),
        )
        self.stdout.write("ingest: ready")
        meter = floods.Meter(rate=settings.NODE_RATE, burst=settings.NODE_BURST)
        Ingest(connection=connection, handle=partial(_take, meter=meter), stop=stop).run()


def _take(batch: Sequence[arrivals.Arrival], *, meter: floods.Meter) -> None:
    close_old_connections()
    arrivals.take(batch, now=datetime.now(UTC), meter=meter)
