"""`manage.py declare_queues`: make what the broker needs; again changes nothing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks import broker


class Command(BaseCommand):
    """Virtual host, platform user, exchanges and queues; once, and after upgrades."""

    help = "Make the broker's virtual host, platform user, exchanges and queues."

    def handle(self, **options: Any) -> None:
        try:
            broker.declare_topology()
        except broker.BrokerUnavailable as exc:
            raise CommandError(f"The broker cannot be reached: {exc}") from exc
        self.stdout.write("broker: exchanges and queues are there")
