"""`manage.py ingest`: read what nodes send, until told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections
from kombu import Connection

from tasks import arrivals, floods
from tasks.celery import app
from tasks.ingest import Ingest
from workers.protocol import tls

PROCESSES_MAX = 32
#: How often the parent looks after its processes, seconds.
LOOK_SECONDS = 0.5
STOP_SECONDS_MAX = 20


class Command(BaseCommand):
    """Read acks, heartbeats and reports. Several may run side by side."""

    help = "Read what nodes send: acks, heartbeats and reports."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--processes",
            type=int,
            default=1,
            help=f"how many to run side by side, 1 to {PROCESSES_MAX} (default: 1)",
        )

    def handle(self, **options: Any) -> None:
        count = options["processes"]
        if not 1 <= count <= PROCESSES_MAX:
            raise CommandError(f"--processes must be 1 to {PROCESSES_MAX}")
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if count > 1:
            self._look_after(count, stop)
            return
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

    def _look_after(self, count: int, stop: Event) -> None:
        """Run processes of their own; when one ends, end all and fail, for a restart of all."""
        command = [sys.executable, *sys.orig_argv[1 : _place("--processes")], "--processes=1"]
        # Our own command line again.
        running = [subprocess.Popen(command) for _ in range(count)]  # noqa: S603
        try:
            while not stop.wait(LOOK_SECONDS):
                ended = [process for process in running if process.poll() is not None]
                if ended:
                    raise CommandError(f"an ingest process ended with {ended[0].returncode}")
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(STOP_SECONDS_MAX)


def _place(option: str) -> int:
    """Return where the option stands in the command line as it was typed."""
    return next(at for at, word in enumerate(sys.orig_argv) if word.startswith(option))


def _take(batch: Sequence[arrivals.Arrival], *, meter: floods.Meter, more_follow: bool) -> None:
    close_old_connections()
    arrivals.take(batch, now=datetime.now(UTC), meter=meter, more_follow=more_follow)
