"""`manage.py archive`: let old work leave the tables."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from tasks import attic

DAYS_DEFAULT = 90
#: The longest hold of a reward, and time for an appeal.
DAYS_MIN = 30


class Command(BaseCommand):
    """Export rows of jobs that ended long ago, and remove them; run it daily."""

    help = "Export rows of jobs that ended long ago into the blob storage, and remove them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=DAYS_DEFAULT,
            help=f"days since the job ended, at least {DAYS_MIN} (default: {DAYS_DEFAULT})",
        )

    def handle(self, **options: Any) -> None:
        days = options["days"]
        if days < DAYS_MIN:
            raise CommandError(f"--days must be at least {DAYS_MIN}")
        removed = attic.archive(older_than=timedelta(days=days), now=timezone.now())
        self.stdout.write(f"archive: {removed} rows exported and removed")
