"""Models in use: checked, each open in a locked room, kept warm, in one numeric class.

What numbers depend on is fixed in `workers.room.graphs` and named by `numeric_class`.
"""

from __future__ import annotations

import platform
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from workers import declarations
from workers.protocol import digests, limits
from workers.protocol.manifest import Contract
from workers.protocol.modelcheck import reading, shapes
from workers.protocol.modelcheck.graphs import Graph
from workers.protocol.modelcheck.refusals import Refused
from workers.protocol.preparation import Shape
from workers.rooms import Rooms, Strikes
from workers.sandbox import Corrupt, OutOfMemory, RoomLimits, Unusable
from workers.spare import Spare

__all__ = [
    "Corrupt",
    "OpenModel",
    "OutOfMemory",
    "Sessions",
    "Unusable",
    "instruction_set",
    "numeric_class",
]

#: Models kept open; a detector takes about 120 MB.
OPEN_MAX = 2
#: Contracts remembered, so that a model can be opened before its first assignment.
CONTRACTS_MAX = 64
#: What of an x86 processor changes ONNX Runtime's code path, best first.
X86_LEVELS = ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx", "sse4_1")
ARM_LEVELS = ("sve", "i8mm", "asimddp", "asimd")


class _Key(NamedTuple):
    """The same file is another model when its owner says otherwise how to use it."""

    digest: str
    contract: Contract


@dataclass(frozen=True)
class OpenModel:
    """A checked model in its rooms. Safe for threads."""

    rooms: Rooms
    graph: Graph
    contract: Contract
    #: Input shapes whose bounds hold; adding is harmless when repeated.
    sizes_checked: set[Shape] = field(default_factory=set, compare=False)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs that the contract names, in its order, as the model gives them.

        Raises:
            Unusable, OutOfMemory, sandbox.RoomFailed.
        """
        found = self.rooms.run(feeds)
        return [found[name] for name in self.contract.output_names]

    def close(self) -> None:
        """Close the rooms."""
        self.rooms.close()


class Sessions:
    """The last few models used, open. Safe for threads: each is opened once."""

    def __init__(
        self,
        *,
        built_in: Mapping[str, Contract] | None = None,
        room_limits: RoomLimits | None = None,
    ) -> None:
        """Note the built-in models by digest: they are run even where locks are missing."""
        self._built_in = dict(built_in or {})
        #: The empty room in reserve, for whoever decides about memory.
        self.spare = Spare(room_limits)
        self._strikes = Strikes()
        self._lock = threading.Lock()
        self._open: OrderedDict[_Key, Future[OpenModel]] = OrderedDict()
        self._opening: set[Rooms] = set()
        self._contracts: OrderedDict[str, Contract] = OrderedDict()

    def open(self, digest: str, path: Path, contract: Contract) -> OpenModel:
        """Return the model's session; the first caller opens it, others wait for that.

        Raises:
            Corrupt, Unusable, OutOfMemory, sandbox.NotLocked, sandbox.RoomFailed,
            sandbox.RoomUnavailable: nothing is kept.
        """
        key = _Key(digest, contract)
        evicted: list[Future[OpenModel]] = []
        with self._lock:
            known = self._open.get(key)
            future = known or Future[OpenModel]()
            self._open[key] = future
            self._open.move_to_end(key)
            while len(self._open) > OPEN_MAX:
                evicted.append(self._open.popitem(last=False)[1])
            self._contracts[digest] = contract
            self._contracts.move_to_end(digest)
            while len(self._contracts) > CONTRACTS_MAX:
                self._contracts.popitem(last=False)
        for each in evicted:
            each.add_done_callback(_retire)
        if known is None:
            self._fill(future, key, path)
        return future.result()

    def contract(self, digest: str) -> Contract | None:
        """Return how the model was used last, or is to be used; None when nobody said."""
        with self._lock:
            return self._contracts.get(digest) or self._built_in.get(digest)

    def is_open(self, digest: str) -> bool:
        """Say whether `open` would answer at once."""
        with self._lock:
            futures = [future for key, future in self._open.items() if key.digest == digest]
        return any(_is_open(future) for future in futures)

    def close_idle(self) -> int:
        """Close models that nobody computes with; return how many."""
        with self._lock:
            idle = {
                key: future
                for key, future in self._open.items()
                if _is_open(future) and future.result().rooms.idle_seconds > 0
            }
            for key in idle:
                del self._open[key]
        for future in idle.values():
            _retire(future)
        return len(idle)

    def close(self) -> None:
        """Close all, at once, what is being opened or computed included."""
        self.spare.drop()
        with self._lock:
            opened = list(self._open.values())
            self._open.clear()
            for opening in self._opening:
                opening.close()
        for each in opened:
            each.add_done_callback(_close)

    def _fill(self, future: Future[OpenModel], key: _Key, path: Path) -> None:
        try:
            future.set_result(self._load(key, path))
        except BaseException as exc:  # noqa: BLE001 -- it is raised where the result is asked for
            with self._lock:
                if self._open.get(key) is future:
                    del self._open[key]
            future.set_exception(exc)

    def _load(self, key: _Key, path: Path) -> OpenModel:
        """Check the model, then open its first room; the room sees no other bytes."""
        self._strikes.check(key.digest)
        graph = _read(key.digest, path)
        try:
            declared = declarations.declare(graph, key.contract)
        except Refused as exc:
            raise _refusal(exc) from exc
        rooms = Rooms(
            digest=key.digest,
            path=path,
            declared=declared,
            is_built_in=key.digest in self._built_in,
            strikes=self._strikes,
            spare=self.spare,
        )
        with self._lock:
            self._opening.add(rooms)
        try:
            rooms.open()
        finally:
            with self._lock:
                self._opening.discard(rooms)
        return OpenModel(rooms=rooms, graph=graph, contract=key.contract)


def _read(digest: str, path: Path) -> Graph:
    """Return the model's graph after checking that it is the one `digest` names, and harmless.

    Raises:
        Corrupt, Unusable.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limits.MODEL_BYTES_MAX + 1)
    except FileNotFoundError as exc:
        raise Corrupt("The model is not there any more.") from exc
    if digests.digest(content) != digest:
        raise Corrupt("The file has another digest.")
    try:
        graph = reading.read(content)
        shapes.bound_opening(graph)
    except Refused as exc:
        raise _refusal(exc) from exc
    return graph


def _refusal(exc: Refused) -> Unusable:
    return Unusable(f"{exc.code}: {exc}"[:200])


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


def _is_open(future: Future[OpenModel]) -> bool:
    return future.done() and future.exception() is None


def _retire(future: Future[OpenModel]) -> None:
    if future.exception() is None:
        future.result().rooms.retire()


def _close(future: Future[OpenModel]) -> None:
    if future.exception() is None:
        future.result().close()
