"""`manage.py ingest`: read what nodes send, until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections
from kombu import Connection

from tasks import arrivals
from tasks.celery import app
from tasks.ingest import Ingest


class Command(BaseCommand):
    """Read acks, heartbeats and reports. Several may run side by side."""

    help = "Read what nodes send: acks, heartbeats and reports."

    def handle(self, **options: Any) -> None:
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        connection = Connection(
            settings.BROKER_URL,
            heartbeat=30,
            transport_options=app.conf.broker_transport_options,
        )
        self.stdout.write("ingest: ready")
        Ingest(connection=connection, handle=_take, stop=stop).run()


def _take(batch: Sequence[arrivals.Arrival]) -> None:
    close_old_connections()
    arrivals.take(batch, now=datetime.now(UTC))
