"""Judge a converted detector by what it must find on the four sample photographs.

Scores and boxes are those of the float32 conversion, which agrees with TensorFlow running
the original graph to 6e-6 in score and 3e-6 in box. A model's digest says whether a file
arrived whole; only this says whether the conversion is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from tasks.conversion import labels, limits

SCORE_THRESHOLD: Final = 0.5
SCORE_TOLERANCE: Final = 0.01
IOU_MIN: Final = 0.95

# Edges of a box: left, top, right, bottom, in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object in a photograph."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class GoldenLine:
    """One object that was expected, and how the model's own answer compares with it."""

    photo: str
    label: str
    expected_score: float
    score: float
    iou: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The pairs found on one photograph, and a sentence for everything that is wrong."""

    lines: tuple[GoldenLine, ...]
    differences: tuple[str, ...]


EXPECTED: Final[dict[str, tuple[Detection, ...]]] = {
    "astronaut.png": (Detection("person", 0.837, (12, 11, 370, 510)),),
    "chelsea.png": (Detection("cat", 0.910, (8, 1, 408, 297)),),
    "coffee.png": (
        Detection("cup", 0.964, (174, 14, 412, 237)),
        Detection("bowl", 0.859, (169, 16, 408, 247)),
        Detection("dining table", 0.839, (3, 0, 596, 398)),
    ),
    "camera.png": (Detection("person", 0.922, (0, 62, 304, 508)),),
}


class GoldenMismatch(ValueError):
    """The model finds other objects on the sample photographs than it must."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("; ".join(differences))
        self.differences = tuple(differences)


def check(model_path: Path, photos: Path) -> list[GoldenLine]:
    """Run the model over the photographs in folder `photos`; six objects must be found.

    At a score threshold of 0.5 there must be these and no others, each within 0.01 of its
    score and at an IoU of 0.95 or more. One thread, about a second.

    Raises:
        GoldenMismatch: anything else was found; its `differences` name each.
    """
    session = _session(model_path)
    comparisons = [
        compare(photo, expected, _detect(session, _pixels(photos / photo)))
        for photo, expected in EXPECTED.items()
    ]
    differences = [text for comparison in comparisons for text in comparison.differences]
    if differences:
        raise GoldenMismatch(differences)
    return [line for comparison in comparisons for line in comparison.lines]


def compare(photo: str, expected: Sequence[Detection], found: Sequence[Detection]) -> Comparison:
    """Pair what was expected on one photograph with what was found there."""
    lines: list[GoldenLine] = []
    differences: list[str] = []
    remaining = list(found)
    for wanted in expected:
        rivals = [candidate for candidate in remaining if candidate.label == wanted.label]
        if not rivals:
            differences.append(f"{photo}: no {wanted.label}")
            continue
        best = max(rivals, key=lambda rival: iou(rival.box, wanted.box))
        remaining.remove(best)
        line = GoldenLine(photo, wanted.label, wanted.score, best.score, iou(best.box, wanted.box))
        lines.append(line)
        differences += _faults(line)
    differences += [f"{photo}: extra {extra.label} {extra.score:.3f}" for extra in remaining]
    return Comparison(tuple(lines), tuple(differences))


def _faults(line: GoldenLine) -> list[str]:
    """Say what is wrong with a pair; written so that a NaN counts as wrong."""
    faults = []
    if not abs(line.score - line.expected_score) <= SCORE_TOLERANCE:
        faults.append(
            f"{line.photo}: {line.label} scores {line.score:.3f}, not {line.expected_score:.3f}"
        )
    if not line.iou >= IOU_MIN:
        faults.append(f"{line.photo}: {line.label} at an IoU of {line.iou:.3f}")
    return faults


def iou(left: Box, right: Box) -> float:
    """Return the area two boxes share over the area they cover, 0..1."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    shared = max(width, 0.0) * max(height, 0.0)
    covered = _area(left) + _area(right) - shared
    return shared / covered if covered else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _session(model_path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(model_path), options, providers=["CPUExecutionProvider"]
    )


def _pixels(photo: Path) -> NDArray[np.uint8]:
    """Decode the whole picture, (height, width, 3) uint8 RGB, never a smaller draft."""
    with Image.open(photo) as picture:
        if picture.width * picture.height > limits.PHOTO_PIXELS_MAX:
            raise ValueError(f"{photo.name} has more than {limits.PHOTO_PIXELS_MAX} pixels")
        return np.asarray(picture.convert("RGB"))


def _detect(session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]) -> list[Detection]:
    boxes, scores, classes = session.run(
        ["boxes", "scores", "classes"],
        {
            "image": pixels[np.newaxis],
            "score_threshold": np.array([SCORE_THRESHOLD], dtype=np.float32),
        },
    )
    height, width, _ = pixels.shape
    return [
        Detection(
            labels.COCO_LABELS.get(int(number), f"class {number}"),
            float(score),
            (float(x0) * width, float(y0) * height, float(x1) * width, float(y1) * height),
        )
        for (y0, x0, y1, x1), score, number in zip(boxes, scores, classes, strict=True)
    ]
