"""Models in use: each open in a locked room, kept warm, in one numeric class.

What numbers depend on is fixed in `workers.room.graphs` and named by `numeric_class`.
"""

from __future__ import annotations

import platform
import threading
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol import limits
from workers.rooms import Contract, Rooms, Strikes
from workers.sandbox import Corrupt, OutOfMemory, RoomLimits, TensorSpec, Unusable

__all__ = [
    "DETECTOR",
    "Corrupt",
    "Detector",
    "OutOfMemory",
    "Sessions",
    "Unusable",
    "instruction_set",
    "load",
    "numeric_class",
]

#: Models kept open; a detector takes about 200 MB.
OPEN_MAX = 2
#: Rows a detector may answer with, before any is left out.
ROWS_MAX = 100_000
OUTPUTS = ("boxes", "scores", "classes")
IMAGE_INPUT = "image"
THRESHOLD_INPUT = "score_threshold"
#: What of an x86 processor changes ONNX Runtime's code path, best first.
X86_LEVELS = ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx", "sse4_1")
ARM_LEVELS = ("sve", "i8mm", "asimddp", "asimd")


DETECTOR = Contract(
    inputs=(
        TensorSpec(
            name=IMAGE_INPUT,
            dtypes=("uint8",),
            shape=(1, None, None, 3),
            bytes_max=3 * limits.IMAGE_PIXELS_MAX,
        ),
        TensorSpec(
            name=THRESHOLD_INPUT, dtypes=("float32",), shape=(1,), bytes_max=4, is_optional=True
        ),
    ),
    outputs=(
        TensorSpec(name="boxes", dtypes=("float32",), shape=(None, 4), bytes_max=4 * 4 * ROWS_MAX),
        TensorSpec(name="scores", dtypes=("float32",), shape=(None,), bytes_max=4 * ROWS_MAX),
        TensorSpec(
            name="classes", dtypes=("int64", "int32"), shape=(None,), bytes_max=8 * ROWS_MAX
        ),
    ),
)


@dataclass(frozen=True)
class Detector:
    """An open model that follows the contract of detectors. Safe for threads."""

    rooms: Rooms

    @property
    def takes_threshold(self) -> bool:
        """Whether the model leaves out low scores itself."""
        return THRESHOLD_INPUT in self.rooms.takes

    def run(
        self, pixels: NDArray[np.uint8], *, floor: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return boxes, scores and classes as the model gives them.

        Raises:
            Unusable, OutOfMemory, sandbox.RoomFailed.
        """
        threshold = np.array([floor], dtype=np.float32)
        found = self.rooms.run({IMAGE_INPUT: pixels, THRESHOLD_INPUT: threshold})
        boxes, scores, classes = (found[name] for name in OUTPUTS)
        return boxes, scores, classes

    def close(self) -> None:
        """Close the rooms."""
        self.rooms.close()


class Sessions:
    """The last few models used, open. Safe for threads: each is opened once."""

    def __init__(
        self, *, built_in: Collection[str] = (), room_limits: RoomLimits | None = None
    ) -> None:
        """Note the digests of built-in models: they are run even where locks are missing."""
        self._built_in = frozenset(built_in)
        self._room_limits = room_limits or RoomLimits()
        self._strikes = Strikes()
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Future[Detector]] = OrderedDict()
        self._opening: set[Rooms] = set()

    def open(self, digest: str, path: Path) -> Detector:
        """Return the model's session; the first caller opens it, others wait for that.

        Raises:
            Corrupt, Unusable, OutOfMemory, sandbox.NotLocked, sandbox.RoomFailed,
            sandbox.RoomUnavailable: nothing is kept.
        """
        evicted: list[Future[Detector]] = []
        with self._lock:
            known = self._open.get(digest)
            future = known or Future[Detector]()
            self._open[digest] = future
            self._open.move_to_end(digest)
            while len(self._open) > OPEN_MAX:
                evicted.append(self._open.popitem(last=False)[1])
        for each in evicted:
            each.add_done_callback(_retire)
        if known is None:
            self._fill(future, digest, path)
        return future.result()

    def is_open(self, digest: str) -> bool:
        """Say whether `open` would answer at once."""
        with self._lock:
            future = self._open.get(digest)
        return future is not None and _is_open(future)

    def close_idle(self) -> int:
        """Close models that nobody computes with; return how many.

        Opening one again takes half a second.
        """
        with self._lock:
            idle = {
                digest: future
                for digest, future in self._open.items()
                if _is_open(future) and future.result().rooms.idle_seconds > 0
            }
            for digest in idle:
                del self._open[digest]
        for future in idle.values():
            _retire(future)
        return len(idle)

    def close(self) -> None:
        """Close all, at once, what is being opened or computed included."""
        with self._lock:
            opened = list(self._open.values())
            self._open.clear()
            for opening in self._opening:
                opening.close()
        for each in opened:
            each.add_done_callback(_close)

    def _fill(self, future: Future[Detector], digest: str, path: Path) -> None:
        opening = Rooms(
            digest=digest,
            path=path,
            contract=DETECTOR,
            is_built_in=digest in self._built_in,
            room_limits=self._room_limits,
            strikes=self._strikes,
        )
        with self._lock:
            self._opening.add(opening)
        try:
            opening.open()
            future.set_result(Detector(opening))
        except BaseException as exc:  # noqa: BLE001 -- it is raised where the result is asked for
            with self._lock:
                if self._open.get(digest) is future:
                    del self._open[digest]
            future.set_exception(exc)
        finally:
            with self._lock:
                self._opening.discard(opening)


def load(
    digest: str,
    path: Path,
    *,
    is_built_in: bool = False,
    room_limits: RoomLimits | None = None,
) -> Detector:
    """Open the detector in `path` after checking that it is the one `digest` names.

    Raises:
        Corrupt, Unusable, OutOfMemory, sandbox.NotLocked, sandbox.RoomFailed,
        sandbox.RoomUnavailable.
    """
    rooms = Rooms(
        digest=digest,
        path=path,
        contract=DETECTOR,
        is_built_in=is_built_in,
        room_limits=room_limits,
    )
    rooms.open()
    return Detector(rooms)


@cache
def numeric_class() -> str:
    """Return what this node's numbers depend on, at most 120 characters."""
    return f"ort-{_runtime_version()}/cpu/all/x64precision/{instruction_set()}"


@cache
def instruction_set() -> str:
    """Return the processor's best level that ONNX Runtime has own code for."""
    flags = _processor_flags()
    levels = ARM_LEVELS if platform.machine() in {"aarch64", "arm64"} else X86_LEVELS
    best = next((level for level in levels if level in flags), "unknown")
    return f"{platform.machine()}-{best}"


def _runtime_version() -> str:
    """Return ONNX Runtime's version without loading it: only rooms need it in memory."""
    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        return "unknown"


def _processor_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def _is_open(future: Future[Detector]) -> bool:
    return future.done() and future.exception() is None


def _retire(future: Future[Detector]) -> None:
    if future.exception() is None:
        future.result().rooms.retire()


def _close(future: Future[Detector]) -> None:
    if future.exception() is None:
        future.result().close()
