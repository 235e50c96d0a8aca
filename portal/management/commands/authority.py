"""`manage.py authority`: answer RabbitMQ's questions about nodes, until told to stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

THREADS = 4


class Command(BaseCommand):
    """Becomes a granian that serves `portal.authority` where BROKER_AUTHORITY says."""

    # The checks load the whole site, which this needs nothing of.
    requires_system_checks = []
    help = "Answer RabbitMQ's questions about what nodes may do."

    def handle(self, **options: Any) -> None:
        host, _, port = settings.BROKER_AUTHORITY.rpartition(":")
        if not host or not port.isdecimal():
            raise CommandError("BROKER_AUTHORITY must name host:port, for example 127.0.0.1:8099.")
        granian = str(Path(sys.executable).with_name("granian"))
        arguments = ["--interface", "wsgi", "--host", host.strip("[]"), "--port", port]
        arguments += ["--workers", "1", "--blocking-threads", str(THREADS), "--no-ws"]
        os.execv(granian, [granian, *arguments, "portal.authority:application"])  # noqa: S606
