"""ONNX Runtime sessions: one thread each, kept warm, in one numeric class.

Results must be comparable between nodes, so everything that changes numbers is fixed here
and named by `numeric_class`.
"""

from __future__ import annotations

import platform
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    RuntimeException,
)
from onnxruntime.capi.onnxruntime_pybind11_state import (
    NotImplemented as NotSupported,
)

from workers.protocol import digests
from workers.protocol.modelcheck import reading, shapes
from workers.protocol.modelcheck.graphs import Graph
from workers.protocol.modelcheck.refusals import Refused

#: Sessions kept open; a detector takes about 200 MB.
OPEN_MAX = 2
#: From this input size on (4 megapixels), give the memory of intermediate tensors back after
#: the run.
SHRINK_ELEMENTS_MIN = 12_000_000
#: What of an x86 processor changes ONNX Runtime's code path, best first.
X86_LEVELS = ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx", "sse4_1")
ARM_LEVELS = ("sve", "i8mm", "asimddp", "asimd")

#: ONNX Runtime's errors have no common base.
RUNTIME_ERRORS = (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotSupported,
    RuntimeException,
)


class Unusable(Exception):
    """The model is refused by the check, or cannot be run."""


class Corrupt(Exception):
    """The file is not the model its digest names."""


class OutOfMemory(Exception):
    """The model or the picture does not fit into memory."""


@dataclass(frozen=True)
class OpenModel:
    """An open session of a checked model. Safe for threads."""

    session: Any
    graph: Graph
    #: Contracts and input shapes whose bounds hold; adding is harmless when repeated.
    sizes_checked: set[Hashable] = field(default_factory=set, compare=False)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return the outputs asked for, in their order, as the model gives them.

        Raises:
            Unusable, OutOfMemory.
        """
        options = onnxruntime.RunOptions()
        if max(tensor.size for tensor in feeds.values()) >= SHRINK_ELEMENTS_MIN:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            found: list[NDArray[Any]] = self.session.run(list(outputs), dict(feeds), options)
        except (*RUNTIME_ERRORS, MemoryError, ValueError) as exc:
            raise _translated(exc) from exc
        return found


class Sessions:
    """The last few models used, open. Safe for threads: each is opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Future[OpenModel]] = OrderedDict()

    def open(self, digest: str, path: Path) -> OpenModel:
        """Return the model's session; the first caller opens it, others wait for that.

        Raises:
            Corrupt, Unusable, OutOfMemory: nothing is kept.
        """
        with self._lock:
            known = self._open.get(digest)
            future = known or Future[OpenModel]()
            self._open[digest] = future
            self._open.move_to_end(digest)
            while len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
        if known is None:
            self._fill(future, digest, path)
        return future.result()

    def is_open(self, digest: str) -> bool:
        """Say whether `open` would answer at once."""
        with self._lock:
            future = self._open.get(digest)
        return future is not None and future.done()

    def _fill(self, future: Future[OpenModel], digest: str, path: Path) -> None:
        try:
            future.set_result(load(digest, path))
        except BaseException as exc:  # noqa: BLE001 -- it is raised where the result is asked for
            with self._lock:
                if self._open.get(digest) is future:
                    del self._open[digest]
            future.set_exception(exc)


def load(digest: str, path: Path) -> OpenModel:
    """Open the model in `path` after checking that it is the one `digest` names, and harmless.

    The bytes that were checked are the bytes that are run: nothing is read again.

    Raises:
        Corrupt, Unusable, OutOfMemory.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise Corrupt("The model is not there any more.") from exc
    if digests.digest(content) != digest:
        raise Corrupt("The file has another digest.")
    try:
        graph = reading.read(content)
        shapes.bound_opening(graph)
    except Refused as exc:
        raise Unusable(f"{exc.code}: {exc}"[:200]) from exc
    try:
        session = onnxruntime.InferenceSession(
            content, sess_options=_options(), providers=["CPUExecutionProvider"]
        )
    except (*RUNTIME_ERRORS, MemoryError, RuntimeError, ValueError) as exc:
        raise _translated(exc) from exc
    return OpenModel(session=session, graph=graph)


@cache
def numeric_class() -> str:
    """Return what this node's numbers depend on, at most 120 characters."""
    return f"ort-{onnxruntime.__version__}/cpu/all/x64precision/{instruction_set()}"


@cache
def instruction_set() -> str:
    """Return the processor's best level that ONNX Runtime has own code for."""
    flags = _processor_flags()
    levels = ARM_LEVELS if platform.machine() in {"aarch64", "arm64"} else X86_LEVELS
    best = next((level for level in levels if level in flags), "unknown")
    return f"{platform.machine()}-{best}"


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


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # int8 models then give equal answers with and without VNNI instructions.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def _translated(exc: Exception) -> Exception:
    text = str(exc)
    if isinstance(exc, MemoryError) or "allocat" in text.lower():
        return OutOfMemory(text[:200])
    return Unusable(text[:200])
