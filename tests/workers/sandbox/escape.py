"""The list of attacks with what must stop each, and rooms to try them in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from tests.workers.sandbox.attacks import OUTCOME_BYTES_MAX
from workers import sandbox
from workers.room import locks
from workers.sandbox import Room, RoomLimits, Start, TensorSpec

CODE = sandbox.BOOTSTRAP.replace(
    "inside.main()", "from tests.workers.sandbox import attacks; inside.main(attacks.attempt)"
)
ROOT = str(Path(__file__).parents[3])
LIMITS = RoomLimits(
    memory_bytes=1024 * 1024 * 1024,
    open_seconds=20,
    run_seconds=20,
    priority="normal",
)
ATTACK = TensorSpec(name="attack", dtypes=("uint8",), shape=(None,), bytes_max=10_000)
OUTCOME = TensorSpec(name="outcome", dtypes=("uint8",), shape=(None,), bytes_max=OUTCOME_BYTES_MAX)
SECRET = "the node's key"

L, S, N, R = locks.LANDLOCK, locks.SECCOMP, locks.NETWORK, locks.RLIMITS
C, P = locks.CAPABILITIES, locks.PRIVILEGES


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attack; each of `locks` stops it alone."""

    title: str
    name: str
    arguments: tuple[str | int, ...]
    locks: frozenset[str]


def _try(title: str, name: str, *arguments: str | int, by: set[str]) -> Attempt:
    return Attempt(title, name, arguments, frozenset(by))


ATTEMPTS = [
    _try("read the node's key", "read_file", "{key}", by={L, S}),
    _try("read /etc/passwd", "read_file", "/etc/passwd", by={L, S}),
    _try("list a folder", "list_folder", "{folder}", by={L, S}),
    _try("list /", "list_folder", "/", by={L, S}),
    _try("see a file's size", "look_at_file", "{key}", by={S}),
    _try("create a file", "write_file", "{new}", by={L, S}),
    _try("overwrite a file", "write_file", "{key}", by={L, S}),
    _try("append to a file", "append_to_file", "{key}", by={L, S}),
    _try("truncate a file", "truncate_file", "{key}", by={L, S}),
    _try("remove a file", "remove_file", "{key}", by={L, S}),
    _try("rename a file", "rename_file", "{key}", by={L, S}),
    _try("make a link", "link_file", "{key}", by={L, S}),
    _try("make a folder", "make_folder", "{new}", by={L, S}),
    _try("change a file's mode", "change_mode", "{key}", by={S}),
    _try("file bomb", "fill_disk", "{new}", by={L, S}),
    _try("file bomb in /dev/shm", "fill_disk", "/dev/shm/nodefolk-escape", by={L, S}),
    _try("file bomb in memory", "write_memory_file", by={S, R}),
    _try("TCP to this machine", "reach_tcp", "{tcp}", by={L, S, N}),
    _try("TCP server", "listen_tcp", by={L, S}),
    _try("UDP to this machine", "send_udp", "{udp}", by={S, N}),
    _try("Unix socket by path", "reach_unix", "{unix}", by={S}),
    _try("abstract Unix socket", "reach_abstract_unix", "{abstract}", by={L, S, N}),
    _try("pair of sockets", "pair_sockets", by={S}),
    _try("netlink", "ask_kernel_of_network", by={S}),
    _try("DNS by the system", "resolve_name", by={L, S, N}),
    _try("DNS by UDP", "resolve_by_udp", by={S, N}),
    _try("fork bomb", "fork_bomb", by={S}),
    _try("thread bomb", "thread_bomb", by={S}),
    _try("exec", "execute", by={L, S}),
    _try("spawn a program", "spawn", by={S, R}),
    _try("signal 0 to the parent", "signal_parent", 0, by={L, S}),
    _try("SIGCONT to the parent", "signal_parent", int(signal.SIGCONT), by={L, S}),
    _try("signal to everyone", "signal_everyone", by={S}),
    _try("ptrace the parent", "trace_parent", by={L, S}),
    _try(
        "read the parent's memory",
        "read_parent_memory",
        "{secret}",
        by={L, S},
    ),
    _try("/proc/parent/mem", "open_parent", "mem", by={L, S}),
    _try("/proc/parent/environ", "open_parent", "environ", by={L, S}),
    _try("/proc/parent/cmdline", "open_parent", "cmdline", by={L, S}),
    _try("/proc/parent/fd", "list_parent_files", by={L, S}),
    _try("pidfd of the parent", "hold_parent", by={S}),
    _try("raise the limit of CPU time", "raise_limits", by={S, C}),
    _try("raise the limit of memory", "raise_memory_limit", by={S, C}),
    _try("raise the priority", "raise_priority", by={S, C}),
    _try("become root", "become_root", by={S, C}),
    _try("new namespaces", "make_namespace", by={S}),
    _try("mount /proc", "mount_proc", by={L, S, C}),
    _try("load BPF", "load_bpf", by={S}),
    _try("key ring", "read_keyring", by={S}),
    _try("io_uring", "use_io_uring", by={S}),
    _try("userfaultfd", "catch_faults", by={S}),
    _try("perf events", "watch_performance", by={S}),
    _try("run written code", "run_written_code", by={S}),
    _try("memory bomb", "memory_bomb", by={R}),
]


class Prey:
    """What there is to get at outside, and whether it was got at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key.pem"
        self.key.write_text(SECRET)
        self.key.chmod(0o600)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "s"))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract_name = f"nodefolk-{folder.name}-{id(self)}"
        self.abstract.bind(f"\0{self.abstract_name}")
        self.sockets = [self.tcp, self.udp, self.unix, self.abstract]
        for each in self.sockets[2:]:
            each.listen()
        for each in self.sockets:
            each.setblocking(False)
        self.secret = np.frombuffer(b"0123456789abcdef", dtype=np.uint8).copy()

    def close(self) -> None:
        for each in self.sockets:
            each.close()

    def is_untouched(self) -> bool:
        """Say whether no file changed and nothing came in."""
        files = {path.name: path for path in self.folder.iterdir()}
        return (
            set(files) == {"key.pem", "s", "model"}
            and self.key.read_text() == SECRET
            and self.key.stat().st_mode & 0o777 == 0o600
            and not any(_got(each) for each in self.sockets)
        )

    def fill_in(self, arguments: tuple[str | int, ...]) -> list[str | int]:
        """Return the arguments of an attack on this prey."""
        known: dict[object, str | int] = {
            "{key}": str(self.key),
            "{new}": str(self.folder / "new"),
            "{folder}": str(self.folder),
            "{unix}": str(self.folder / "s"),
            "{abstract}": self.abstract_name,
            "{tcp}": self.tcp.getsockname()[1],
            "{udp}": self.udp.getsockname()[1],
            "{secret}": int(self.secret.ctypes.data),
        }
        return [known.get(each, each) for each in arguments]


@contextmanager
def prey(folder: Path) -> Iterator[Prey]:
    (folder / "model").write_bytes(b"anything")
    with closing(Prey(folder)) as caught:
        yield caught


@contextmanager
def hostile_room(
    folder: Path, *, without: tuple[str, ...] = (), limits: RoomLimits = LIMITS
) -> Iterator[Room]:
    """Start the real room with the attacks in place of a model."""
    start = Start(code=CODE, paths=(ROOT,), without=without)
    room = sandbox.start_room(room_limits=limits, start=start)
    path = folder / "model"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with closing(room):
        room.load(path, digest=digest, inputs=[ATTACK], outputs=[OUTCOME], is_built_in=True)
        yield room


def attack(room: Room, name: str, *arguments: str | int) -> str:
    """Return what the attack inside says of itself."""
    order = json.dumps({"name": name, "arguments": arguments}).encode()
    answer = room.run({"attack": np.frombuffer(order, dtype=np.uint8)})
    return answer["outcome"].tobytes().decode()


def _got(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(10)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
