"""`manage.py change_platform_key`: sign with a new key from now on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from tasks import succession


class Command(BaseCommand):
    """The old key vouches for the new one; nodes follow by themselves."""

    help = "Make a new platform key, vouched for by the old one, and use it from now on."

    def handle(self, **options: Any) -> None:
        change = succession.change_platform_key(now=datetime.now(UTC))
        self.stdout.write(f"the platform signs with {change.new_key} (was {change.old_key})")
