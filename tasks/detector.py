"""The detector that comes with Nodefolk: built once, checked on photographs, offered."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from tasks import blobs, catalog
from tasks.conversion import golden, labels, pinned
from tasks.models import CatalogModel
from workers.protocol import manifest, pictures

SLUG: Final = "ssd-mobilenet-v2"
NAME: Final = "SSD MobileNet V2 (COCO)"
#: The day Google trained it, as in the original's name.
VERSION: Final = "2018-03-29"
LICENCE: Final = "Apache-2.0"
#: Where the bytes come from; another pinned source would be another model.
SOURCE: Final = f"{pinned.DISTRIBUTION}: {pinned.FILE} (SHA-256 {pinned.SOURCE_SHA256})"
#: Rounds over the photographs whose median is the time of an image.
_ROUNDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What `install` did; `golden_lines` is empty when the model was there."""

    model: CatalogModel
    is_built: bool
    golden_lines: Sequence[golden.GoldenLine]


def install(*, photos: Path, scratch: Path, now: datetime, is_forced: bool = False) -> Installation:
    """Offer the detector, built from its pinned source unless that was done before.

    `photos` holds the sample photographs; `scratch` a place for 34 MB while it runs.
    `is_forced` builds and checks also when the model is there.

    Raises:
        pinned.SourceMissing, pinned.SourceAltered, golden.GoldenMismatch: nothing changed.
    """
    present = installed()
    if present is not None and not is_forced:
        return Installation(model=present, is_built=False, golden_lines=())
    with tempfile.TemporaryDirectory(dir=scratch, prefix="detector-") as folder:
        built = pinned.build(Path(folder) / f"{SLUG}.onnx")
        lines = golden.check(built.path, photos)
        image_ms = max(1, _measure(built.path, sorted(photos / name for name in golden.EXPECTED)))
        model = catalog.register(
            card=_card(image_ms=image_ms), data=built.path.read_bytes(), now=now
        )
    return Installation(model=model, is_built=True, golden_lines=lines)


def installed() -> CatalogModel | None:
    """Return the detector on offer if its bytes are there."""
    rows = CatalogModel.objects.filter(owner=None, slug=SLUG, source=SOURCE, is_offered=True)
    model = rows.select_related("blob").order_by("-created_at", "-pk").first()
    return model if model is not None and blobs.exists(model.blob_id) else None


def _card(*, image_ms: int) -> catalog.Card:
    return catalog.Card(
        slug=SLUG,
        name=NAME,
        version=VERSION,
        labels={str(number): label for number, label in labels.COCO_LABELS.items()},
        licence=LICENCE,
        source=SOURCE,
        contract=manifest.DETECTOR,
        image_ms=image_ms,
    )


def _measure(model_path: Path, photos: list[Path]) -> int:
    """Return the median milliseconds that decoding and detecting take, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model_path), options, providers=["CPUExecutionProvider"]
    )
    threshold = np.array([golden.SCORE_THRESHOLD], dtype=np.float32)
    seconds = []
    for photo in [photos[0], *photos * _ROUNDS]:
        data = photo.read_bytes()
        started = time.perf_counter()
        pixels = np.asarray(pictures.read(data).image)[np.newaxis]
        session.run(None, {"image": pixels, "score_threshold": threshold})
        seconds.append(time.perf_counter() - started)
    # The first run sets up memory; the nodes keep their session, too.
    return round(statistics.median(seconds[1:]) * 1000)
