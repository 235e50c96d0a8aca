"""ONNX Runtime inside a room: one thread, one numeric class, one model.

Results must be comparable between nodes, so everything that changes numbers is fixed here
and named by `workers.sessions.numeric_class`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
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

from workers.room.tensors import Mismatch, Tensors, TensorSpec

#: ONNX Runtime's errors have no common base.
RUNTIME_ERRORS: Final = (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotSupported,
    RuntimeException,
)
#: ONNX Runtime's words for the types that pass the wall.
_KINDS: Final = {
    "float32": "tensor(float)",
    "float64": "tensor(double)",
    "float16": "tensor(float16)",
}
#: A convolution of four numbers (ONNX, made with onnx 1.23, opset 13): lets the runtime look
#: at the processor while it still can.
WARM_UP_MODEL: Final = bytes.fromhex(
    "080812003a630a0f0a01780a01771201792204436f6e761201772a1308010801"
    "0801080110014201774a040000803f5a1b0a017812160a14080112100a020801"
    "0a0208010a0208020a020802621b0a017912160a14080112100a0208010a0208"
    "010a0208020a02080242040a00100d"
)

_libc: Final = ctypes.CDLL(None)
#: OrtArenaCfg: grow by what is asked for; then everything can be given back, too.
_SAME_AS_REQUESTED: Final = 1
#: After an input this large the memory of its run is given back at once, bytes.
LARGE_BYTES_MIN: Final = 16 * 1024 * 1024


class Unusable(Exception):
    """The runtime refuses the model, its inputs, or it is not what was declared."""


class TooLarge(Exception):
    """The model or an input does not fit into the room's memory."""


class Graph:
    """An open model."""

    def __init__(
        self, content: bytes, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        """Open the model and compare it with the declaration.

        Raises:
            Unusable, TooLarge.
        """
        try:
            self._session = _session(content)
        except (*RUNTIME_ERRORS, MemoryError, RuntimeError, ValueError) as exc:
            raise _translated(exc) from exc
        self._outputs = outputs
        #: Which of the declared inputs the model has.
        self.takes = _compare(self._session.get_inputs(), inputs, "input")
        if not {each.name for each in self._session.get_inputs()} <= {s.name for s in inputs}:
            raise Unusable("The model wants inputs that were not declared.")
        _compare(self._session.get_outputs(), outputs, "output")

    def run(self, feeds: Tensors) -> list[Any]:
        """Return the declared outputs, in order.

        Raises:
            Unusable, TooLarge.
        """
        try:
            names = [spec.name for spec in self._outputs]
            found: list[Any] = self._session.run(names, feeds)
            for spec, each in zip(self._outputs, found, strict=True):
                spec.check(dtype=each.dtype, shape=each.shape)
        except (*RUNTIME_ERRORS, MemoryError, RuntimeError, ValueError) as exc:
            raise _translated(exc) from exc
        except Mismatch as exc:
            raise Unusable(f"An output is not what was declared: {exc}.") from exc
        return found


def give_back_memory() -> None:
    """Return freed memory to the system: 100 MB after opening a model of 34 MB.

    The arena shrinks at the end of a run that asks for it, of any session that shares it.
    """
    _tiny_session().run(None, {"x": np.ones((1, 1, 2, 2), dtype=np.float32)}, _shrinking())
    trim = getattr(_libc, "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def warm_up() -> None:
    """Make the arena and run a tiny model: all that is loaded or looked up late is there."""
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        onnxruntime.OrtArenaCfg({"arena_extend_strategy": _SAME_AS_REQUESTED}),
    )
    give_back_memory()


@cache
def _tiny_session() -> Any:
    return _session(WARM_UP_MODEL)


def _shrinking() -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _session(content: bytes) -> Any:
    session = onnxruntime.InferenceSession(
        content, sess_options=_options(), providers=["CPUExecutionProvider"]
    )
    # It keeps the file's bytes (34 MB) to begin anew on another kind of processor; there is
    # none, and its own comment there calls it bad.
    session.disable_fallback()
    session._model_bytes = None  # noqa: SLF001
    return session


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A session's own arena never gives its first region back (0.7 GB after a large picture);
    # the shared one does, and without any a picture takes 8 % longer (docs/performance.md).
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A memory pattern is kept for every size of picture ever seen, and is no faster.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # int8 models then give equal answers with and without VNNI instructions.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def _compare(found: Sequence[Any], specs: Sequence[TensorSpec], word: str) -> list[bool]:
    """Say which of the declared tensors the model has.

    Raises:
        Unusable: one is missing that must be there, or has another type or rank.
    """
    known = {each.name: each for each in found}
    for spec in specs:
        each = known.get(spec.name)
        if each is None and spec.is_optional:
            continue
        kinds = {_KINDS.get(name, f"tensor({name})") for name in spec.dtypes}
        # Without a shape the runtime does not know the rank; it is seen when it is run.
        if (
            each is None
            or each.type not in kinds
            or len(each.shape or spec.shape) != len(spec.shape)
        ):
            raise Unusable(
                f"The model has no {word} `{spec.name}` of rank {len(spec.shape)}"
                f" and type {' or '.join(spec.dtypes)}."
            )
    return [spec.name in known for spec in specs]


def _translated(exc: Exception) -> Exception:
    text = str(exc)
    if isinstance(exc, MemoryError) or "alloc" in text.lower():
        return TooLarge(text[:200])
    return Unusable(text[:200])
