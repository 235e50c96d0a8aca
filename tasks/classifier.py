"""The classifier that comes with Nodefolk: built once, checked on photographs, offered."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from tasks import blobs, catalog, trials
from tasks.conversion import classifier, efficientnet, pinned
from tasks.models import CatalogModel
from workers.protocol import digests, messages, pictures, preparation
from workers.protocol.decoders import classify
from workers.protocol.manifest import Classes, Contract, PictureInput
from workers.protocol.modelcheck import reading

SLUG: Final = "efficientnet-lite3"
NAME: Final = "EfficientNet-Lite3 (ImageNet)"
VERSION: Final = "int8"
LICENCE: Final = "Apache-2.0"
SOURCE: Final = f"{pinned.DISTRIBUTION}: {classifier.FILE} (SHA-256 {classifier.SOURCE_SHA256})"
#: The middle of the picture, as the original was evaluated: 280 of 312 pixels, bicubic.
CONTRACT: Final = Contract(
    kind="classify",
    input=PictureInput(
        name="image",
        layout="NCHW",
        width=efficientnet.SIDE,
        height=efficientnet.SIDE,
        resize="crop",
        filter="bicubic",
        crop_fraction=efficientnet.SIDE / (efficientnet.SIDE + 32),
    ),
    output=Classes(decoder="classify", output="probabilities"),
)
#: What it must say of the sample photographs, and how sure it must be. The astronaut's is
#: wrong, as the original's is: the check is of the conversion, not of the model.
EXPECTED: Final[Mapping[str, tuple[str, float]]] = {
    "astronaut.png": ("football helmet", 0.681),
    "camera.png": ("tripod", 0.931),
    "chelsea.png": ("Egyptian cat", 0.491),
    "coffee.png": ("espresso", 0.847),
}
PROBABILITY_TOLERANCE: Final = 0.03


class GoldenMismatch(ValueError):
    """The converted classifier says something else of the sample photographs."""


@dataclass(frozen=True, kw_only=True)
class GoldenLine:
    """What was expected of one photograph, and what the model said."""

    photo: str
    label: str
    expected: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What `install` did; `golden_lines` is empty when the model was there."""

    model: CatalogModel
    is_built: bool
    golden_lines: Sequence[GoldenLine]


def install(*, photos: Path, scratch: Path, now: datetime, is_forced: bool = False) -> Installation:
    """Offer the classifier, built from its pinned source unless that was done before.

    Raises:
        pinned.SourceMissing, pinned.SourceAltered, GoldenMismatch, trials.TrialFailed:
        nothing changed.
    """
    present = installed()
    if present is not None and not is_forced:
        return Installation(model=present, is_built=False, golden_lines=())
    labels = classifier.labels()
    with tempfile.TemporaryDirectory(dir=scratch, prefix="classifier-") as folder:
        built = classifier.build(Path(folder) / f"{SLUG}.onnx")
        lines = check(built.path, photos, labels)
        data = built.path.read_bytes()
    model = catalog.register(card=_card(data, labels), data=data, now=now)
    return Installation(model=model, is_built=True, golden_lines=lines)


def installed() -> CatalogModel | None:
    """Return the classifier on offer if its bytes are there."""
    rows = CatalogModel.objects.filter(owner=None, slug=SLUG, source=SOURCE, is_offered=True)
    model = rows.select_related("blob").order_by("-created_at", "-pk").first()
    return model if model is not None and blobs.exists(model.blob_id) else None


def check(model_path: Path, photos: Path, labels: Mapping[int, str]) -> list[GoldenLine]:
    """Let the model name the photographs in folder `photos`.

    Raises:
        GoldenMismatch: another class is the likeliest, or its probability is off.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        str(model_path), options, providers=["CPUExecutionProvider"]
    )
    lines = [_line(session, photos / photo, labels) for photo in EXPECTED]
    faults = [
        f"{line.photo}: {line.label} {line.probability:.3f}"
        for line in lines
        if line.label != EXPECTED[line.photo][0]
        or not abs(line.probability - line.expected) <= PROBABILITY_TOLERANCE
    ]
    if faults:
        raise GoldenMismatch("; ".join(faults))
    return lines


def _line(
    session: onnxruntime.InferenceSession, photo: Path, labels: Mapping[int, str]
) -> GoldenLine:
    prepared = preparation.prepare(pictures.read(photo.read_bytes()).image, CONTRACT.input)
    assert isinstance(CONTRACT.output, Classes)
    tensors = session.run([CONTRACT.output.output], {CONTRACT.input.name: prepared.tensor})
    probabilities = classify.decode(tensors, CONTRACT.output, classes=efficientnet.CLASSES)
    best = int(np.argmax(probabilities))
    return GoldenLine(
        photo=photo.name,
        label=labels[best],
        expected=EXPECTED[photo.name][1],
        probability=float(probabilities[best]),
    )


def _card(data: bytes, labels: Mapping[int, str]) -> catalog.Card:
    reference = messages.ModelReference(
        digest=digests.digest(data),
        size_bytes=len(data),
        url="http://localhost/",
        kind="classify",
        contract=CONTRACT,
        class_ids=sorted(labels),
    )
    return catalog.Card(
        slug=SLUG,
        name=NAME,
        version=VERSION,
        labels={str(number): label for number, label in labels.items()},
        licence=LICENCE,
        source=SOURCE,
        contract=CONTRACT,
        image_ms=trials.run(data, reference).image_ms,
        is_class_pinned=reading.read(data).is_8_bit,
    )
