"""The locked room for a model: a child process that can compute and nothing else.

`open_room` starts a fresh interpreter without environment, handles or secrets; it shuts its
locks (`workers.room`) before it sees the model. Here, outside, nothing is read from it but
tensors of a declared type, shape and size, each by a deadline.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from numpy.typing import NDArray

from workers.protocol import limits
from workers.room import area, child, kernel, landlock, locks, seccomp, tensors, wire
from workers.room.area import Area, Layout
from workers.room.child import Child, Deadline, RoomDied, RoomFailed, RoomHung, RoomLied
from workers.room.refusals import Corrupt, NotLocked, OutOfMemory, RoomUnavailable, Unusable
from workers.room.tensors import Tensors, TensorSpec

__all__ = [
    "Corrupt",
    "Lock",
    "NotLocked",
    "OutOfMemory",
    "Room",
    "RoomDied",
    "RoomFailed",
    "RoomHung",
    "RoomLied",
    "RoomLimits",
    "RoomUnavailable",
    "TensorSpec",
    "Unusable",
    "can_lock",
    "locks_present",
    "open_room",
]

#: What the room's interpreter runs. The arguments are its settings and where libraries are.
BOOTSTRAP: Final = (
    "import sys; sys.path[:0] = sys.argv[2:]; from workers.room import inside; inside.main()"
)
#: What a room must hold before a model of other people is given to it; one of the last two.
NEEDED: Final = (locks.LANDLOCK, locks.RLIMITS, locks.PRIVILEGES, locks.CAPABILITIES)
NEEDED_ONE: Final = (locks.SECCOMP, locks.NETWORK)
CHUNK_BYTES: Final = limits.MIB
#: How often a model is in memory at least while it is opened.
MODEL_COPIES: Final = 4
#: A room that used this share of its processor time is replaced when it is free.
WORN_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class RoomLimits:
    """Bounds on one room."""

    #: Address space, bytes: the interpreter and the runtime take about 0.6 GB of it.
    memory_bytes: int = 4096 * limits.MIB
    #: Processor time in a room's whole life, seconds; a busy one is replaced long before.
    cpu_seconds: int = 3600
    start_seconds: float = 60
    open_seconds: float = 120
    run_seconds: float = 120
    #: Idle: only what no other program wants. Low: less than others. Normal: as others.
    priority: Literal["idle", "low", "normal"] = "idle"


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a room's interpreter begins. Only tests give another one, to attack from inside."""

    code: str = BOOTSTRAP
    paths: tuple[str, ...] = ()
    #: Locks left open, to show what the others hold.
    without: tuple[str, ...] = ()


class Lock(NamedTuple):
    """One lock of a room, for `doctor`."""

    lock: str
    is_present: bool
    detail: str


class Room:
    """A model behind locks. Use by one thread at a time; close it."""

    def __init__(
        self, process: Child, *, room_limits: RoomLimits, shared: Area | None = None
    ) -> None:
        """Wait until the locks are shut.

        Raises:
            RoomUnavailable.
        """
        self._child = process
        self._area = shared
        self._limits = room_limits
        self._inputs: Sequence[TensorSpec] = ()
        self._outputs: Sequence[TensorSpec] = ()
        self._busy_seconds = 0.0
        #: Which of the declared inputs the model has.
        self.takes: frozenset[str] = frozenset()
        #: Names of the locks that hold.
        self.held: frozenset[str] = frozenset()
        spec = _flags("locks", len(locks.NAMES))
        try:
            deadline = process.deadline("start", room_limits.start_seconds)
            flags = self._receive([spec], deadline)[spec.name]
        except (RoomFailed, Unusable, OutOfMemory) as exc:
            self.close()
            raise RoomUnavailable(f"The room could not be made: {exc}.") from exc
        self.held = frozenset(
            name for name, flag in zip(locks.NAMES, flags, strict=True) if flag == 1
        )

    @property
    def pid(self) -> int:
        """The process, for measurements."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._child.is_alive

    @property
    def is_worn(self) -> bool:
        """Whether it should be replaced before its processor time ends."""
        return self._busy_seconds > self._limits.cpu_seconds * WORN_SHARE

    def load(
        self,
        path: Path,
        *,
        digest: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        is_built_in: bool = False,
    ) -> None:
        """Give it the model; the bytes that are checked are the bytes that are run.

        Raises: the room is closed.
            NotLocked: the model is not built in, and a lock is missing.
            Corrupt, Unusable, OutOfMemory, RoomFailed.
        """
        if not is_built_in and not is_locked(self.held):
            self.close()
            raise NotLocked("Models of others need Landlock, and seccomp or an empty network.")
        self._inputs, self._outputs = inputs, outputs
        deadline = self._child.deadline("open", self._limits.open_seconds)
        spec = _flags("takes", len(inputs))
        try:
            self._send_model(path, digest=digest, deadline=deadline)
            flags = self._receive([spec], deadline)[spec.name]
        except BaseException:
            self.close()
            raise
        self.takes = frozenset(
            each.name for each, flag in zip(inputs, flags, strict=True) if flag == 1
        )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Tensors:
        """Return the declared outputs; inputs that the model does not have are left out.

        Raises:
            Unusable: the room stays open.
            OutOfMemory, RoomFailed: the room is closed.
        """
        started = time.monotonic()
        layout = Layout(0 if self._area is None else area.AREA_BYTES)
        try:
            request = self._request(inputs, layout)
        except tensors.Mismatch as exc:
            raise Unusable(f"An input is not what was declared: {exc}.") from exc
        try:
            self._child.check_silence()
            deadline = self._child.deadline("run", self._limits.run_seconds)
            for part in request:
                self._child.send(part, deadline)
            return self._receive(self._outputs, deadline)
        except Unusable:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._busy_seconds += time.monotonic() - started
            if self._area is not None and self.is_alive:
                self._area.give_back(layout.end)

    def kill(self) -> None:
        """Make its thread's wait end, from another thread; that one has to close it."""
        self._child.kill()

    def close(self) -> None:
        """End the process. May be called twice."""
        self._child.end()
        if self._area is not None:
            self._area.close()
            self._area = None

    def _send_model(self, path: Path, *, digest: str, deadline: Deadline) -> None:
        declared = {
            "inputs": [asdict(each) for each in self._inputs],
            "outputs": [asdict(each) for each in self._outputs],
        }
        text = json.dumps(declared).encode()
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size * MODEL_COPIES > self._limits.memory_bytes:
                    raise OutOfMemory(f"{size} bytes of model do not fit into the room.")
                self._child.send(wire.REQUEST.pack(wire.OPEN, 0, len(text), size), deadline)
                self._child.send(text, deadline)
                seen = hashlib.sha256()
                while chunk := file.read(min(CHUNK_BYTES, size)):
                    seen.update(chunk)
                    self._child.send(chunk, deadline)
                    size -= len(chunk)
        except FileNotFoundError as exc:
            raise Corrupt("The model is not there any more.") from exc
        if size != 0 or seen.hexdigest() != digest:
            raise Corrupt("The file has another digest.")
        self._child.send(wire.VERIFIED, deadline)

    def _request(
        self, inputs: Mapping[str, NDArray[Any]], layout: Layout
    ) -> list[bytes | memoryview]:
        """Put large inputs into the shared area and return what goes through the pipe."""
        given = [
            (place, inputs[spec.name], spec)
            for place, spec in enumerate(self._inputs)
            if spec.name in self.takes
        ]
        parts: list[bytes | memoryview] = [wire.REQUEST.pack(wire.RUN, len(given), 0, 0)]
        for place, array, spec in given:
            spec.check(dtype=array.dtype, shape=array.shape)
            parts.append(tensors.header(place, array))
            offset = layout.place(array.nbytes)
            if offset is not None and self._area is not None:
                self._area.write(offset, array)
            else:
                parts.append(tensors.bytes_of(array))
        return parts

    def _receive(self, specs: Sequence[TensorSpec], deadline: Deadline) -> Tensors:
        status, count, text_bytes = wire.REPLY.unpack(self._read(wire.REPLY.size, deadline))
        if status == wire.OK and (count, text_bytes) == (len(specs), 0):
            return self._receive_tensors(specs, deadline)
        is_refusal = status in {wire.UNUSABLE, wire.TOO_LARGE, wire.BROKEN}
        if not is_refusal or count != 0 or text_bytes > wire.TEXT_BYTES_MAX:
            raise RoomLied("lied: reply")
        text = self._read(text_bytes, deadline).decode("ascii", errors="replace")
        if status == wire.TOO_LARGE:
            raise OutOfMemory(_printable(text))
        raise Unusable(_printable(text))

    def _receive_tensors(self, specs: Sequence[TensorSpec], deadline: Deadline) -> Tensors:
        """Read all headers and compare them with the declaration before any byte of data."""
        found: Tensors = {}
        waiting: list[memoryview] = []
        try:
            for place, spec in enumerate(specs):
                _, dtype, shape = tensors.read_header(
                    self._read(tensors.HEADER.size, deadline), place=place
                )
                spec.check(dtype=dtype, shape=shape)
                found[spec.name], raw = tensors.empty(dtype, shape)
                waiting.append(raw)
        except tensors.Mismatch as exc:
            raise RoomLied(f"lied: {exc}") from exc
        for raw in waiting:
            self._child.fill(raw, deadline)
        return found

    def _read(self, size: int, deadline: Deadline) -> bytes:
        data = bytearray(size)
        self._child.fill(memoryview(data), deadline)
        return bytes(data)


def open_room(
    path: Path,
    *,
    digest: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    is_built_in: bool = False,
    room_limits: RoomLimits | None = None,
) -> Room:
    """Return a room in which the model in `path` is open.

    Raises:
        NotLocked: it is not built in, and a lock is missing; it was not shown to the room.
        Corrupt, Unusable, OutOfMemory: the file, the model, the memory.
        RoomFailed: the room died, hung or lied over the model.
        RoomUnavailable: it could not be made.
    """
    room = start_room(room_limits=room_limits or RoomLimits())
    room.load(path, digest=digest, inputs=inputs, outputs=outputs, is_built_in=is_built_in)
    return room


def start_room(*, room_limits: RoomLimits, start: Start | None = None) -> Room:
    """Return an empty room whose locks are shut.

    Raises:
        RoomUnavailable.
    """
    start = start or Start()
    settings: dict[str, Any] = {
        "parent": os.getpid(),
        "memory_bytes": room_limits.memory_bytes,
        "cpu_seconds": room_limits.cpu_seconds,
        "priority": room_limits.priority,
        "without": list(start.without),
    }
    shared = area.make()
    settings["area"] = None if shared is None else shared.descriptor
    command = child.python_command(start.code, json.dumps(settings), *_paths(), *start.paths)
    try:
        process = Child(command, descriptors=[] if shared is None else [shared.descriptor])
    except (OSError, RuntimeError) as exc:
        if shared is not None:
            shared.close()
        raise RoomUnavailable(f"The room could not be started: {exc}.") from exc
    if shared is not None:
        shared.hand_over()
    return Room(process, room_limits=room_limits, shared=shared)


def is_locked(held: frozenset[str]) -> bool:
    """Say whether these locks suffice for a model of other people."""
    return held.issuperset(NEEDED) and not held.isdisjoint(NEEDED_ONE)


def can_lock() -> bool:
    """Say whether a room here would suffice for models of other people; starts nothing."""
    return kernel.IS_KNOWN and landlock.abi() > 0 and seccomp.is_present()


def locks_present() -> list[Lock]:
    """Return each lock, whether it holds in a room made to see, and a word on it.

    Raises:
        RoomUnavailable.
    """
    room = start_room(room_limits=RoomLimits())
    room.close()
    details = {locks.LANDLOCK: landlock.covers(landlock.abi())} if landlock.abi() else {}
    if locks.SECCOMP in room.held:
        details[locks.NETWORK] = "not needed: seccomp allows no socket"
    return [Lock(name, name in room.held, details.get(name, "")) for name in locks.NAMES]


def _paths() -> list[str]:
    """Return the folders that hold this package, numpy and ONNX Runtime."""
    found = [str(Path(__file__).parents[1])]
    for name in ("numpy", "onnxruntime"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            folder = str(Path(spec.origin).parents[1])
            found += [] if folder in found else [folder]
    return found


def _flags(name: str, count: int) -> TensorSpec:
    return TensorSpec(name=name, dtypes=("uint8",), shape=(count,), bytes_max=count)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
