"""`manage.py doctor`: check everything that must always be true."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from payments import invariants as money
from tasks import invariants as work


class Command(BaseCommand):
    """One line per check; exit code 1 when one does not hold."""

    help = "Check the invariants of money and work."

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        lines = [(check.name, check.ok, check.detail) for check in money.audit(now=now)]
        lines += [(found.name, found.holds, found.detail) for found in work.audit(now=now)]
        for name, ok, detail in lines:
            style = self.style.SUCCESS if ok else self.style.ERROR
            self.stdout.write(f"{style('ok  ' if ok else 'FAIL')} {name}: {detail}")
        if not all(ok for _, ok, _ in lines):
            sys.exit(1)
