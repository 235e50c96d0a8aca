"""What runs inside a room instead of a model: attempts to get out, and lies.

It stands in for a model that has taken over the whole process: it may call whatever it likes.
`attempt` is given to the room's own bootstrap by the tests; production has no way to name it.
"""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401 -- names are encoded with it, too late to load
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workers.room import tensors, wire
from workers.room.inside import Channel

CHOICE = 0 if platform.machine() == "x86_64" else 1
NUMBERS = {
    "ptrace": (101, 117),
    "mount": (165, 40),
    "keyctl": (250, 219),
    "process_vm_readv": (310, 270),
    "bpf": (321, 280),
    "pidfd_open": (434, 434),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}
PTRACE_ATTACH = 16
FORKS_MAX = 50
BOMB_BYTES = 64 * 1024 * 1024

#: What a room starts with, looked at before the locks were shut.
FOUND = {
    "environment": dict(os.environ),
    "files": sorted(
        str(Path(f"/proc/self/fd/{number}").readlink()).split(":")[0]
        for number in range(100)
        if Path(f"/proc/self/fd/{number}").is_symlink()
    ),
    "folder": str(Path.cwd()),
    "is_session_leader": os.getsid(0) == os.getpid(),
    "user_site": sys.flags.no_user_site,
}

libc = ctypes.CDLL(None, use_errno=True)


def system_call(name: str, *arguments: Any) -> int:
    padded = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer = libc.syscall(ctypes.c_long(NUMBERS[name][CHOICE]), *padded)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


# Files


def read_file(path: str) -> str:
    return Path(path).read_text(errors="replace")[:40]


def list_folder(path: str) -> str:
    return ",".join(each.name for each in Path(path).iterdir())[:40]


def look_at_file(path: str) -> str:
    return f"{Path(path).stat().st_size} bytes"


def write_file(path: str) -> str:
    return f"{Path(path).write_bytes(b'escaped')} bytes"


def append_to_file(path: str) -> str:
    with Path(path).open("ab") as file:
        return f"{file.write(b'escaped')} bytes"


def remove_file(path: str) -> None:
    Path(path).unlink()


def rename_file(path: str) -> None:
    Path(path).rename(f"{path}.escaped")


def link_file(path: str) -> None:
    Path(f"{path}.link").symlink_to(path)


def make_folder(path: str) -> None:
    Path(path).mkdir()


def change_mode(path: str) -> None:
    Path(path).chmod(0o777)


def truncate_file(path: str) -> None:
    os.truncate(path, 0)


def fill_disk(path: str) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    return f"{os.write(descriptor, bytes(BOMB_BYTES))} bytes"


def write_memory_file() -> str:
    return f"{os.write(os.memfd_create('x'), bytes(BOMB_BYTES))} bytes"


# Network


def reach_tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=2).close()


def listen_tcp() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname())


def send_udp(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return f"{sender.sendto(b'x', ('127.0.0.1', port))} bytes"


def reach_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def reach_abstract_unix(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")


def pair_sockets() -> str:
    return str(socket.socketpair())


def ask_kernel_of_network() -> str:
    return str(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))


def resolve_name() -> str:
    return str(socket.getaddrinfo("example.com", 80))


def resolve_by_udp() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return f"{sender.sendto(bytes(17), ('192.0.2.53', 53))} bytes"


# Processes


def fork_bomb() -> str:
    children = []
    try:
        for _ in range(FORKS_MAX):
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{len(children)} processes"


def thread_bomb() -> str:
    gate = threading.Event()
    started = 0
    try:
        for _ in range(FORKS_MAX):
            threading.Thread(target=gate.wait, args=(5,), daemon=True).start()
            started += 1
    finally:
        gate.set()
    return f"{started} threads"


def execute() -> None:
    os.execv("/bin/true", ["/bin/true"])


def spawn() -> str:
    return str(subprocess.run([sys.executable, "-V"], capture_output=True, check=True).stdout)


def signal_parent(number: int) -> None:
    os.kill(os.getppid(), number)


def signal_everyone() -> None:
    os.kill(-1, signal.SIGCONT)


def trace_parent() -> int:
    return system_call("ptrace", PTRACE_ATTACH, os.getppid(), 0, 0)


def read_parent_memory(address: int) -> str:
    found = ctypes.create_string_buffer(16)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(found), 16)
    there = (ctypes.c_size_t * 2)(address, 16)
    system_call("process_vm_readv", os.getppid(), here, 1, there, 1, 0)
    return found.raw.hex()


def open_parent(name: str) -> str:
    return read_file(f"/proc/{os.getppid()}/{name}")


def list_parent_files() -> str:
    return list_folder(f"/proc/{os.getppid()}/fd")


def hold_parent() -> int:
    return system_call("pidfd_open", os.getppid(), 0)


# The locks themselves


def raise_limits() -> str:
    resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
    return str(resource.getrlimit(resource.RLIMIT_CPU))


def raise_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**45, 2**45))


def raise_priority() -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    return str(os.getpriority(os.PRIO_PROCESS, 0))


def become_root() -> None:
    os.setgroups([0])
    os.setresuid(0, 0, 0)


def make_namespace() -> None:
    if libc.unshare(0x10000000 | 0x00020000) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount_proc() -> int:
    return system_call("mount", b"proc", b"/mnt", b"proc", 0, None)


def load_bpf() -> int:
    return system_call("bpf", 0, ctypes.create_string_buffer(128), 128)


def read_keyring() -> int:
    return system_call("keyctl", 0, -3, 0)


def use_io_uring() -> int:
    return system_call("io_uring_setup", 4, ctypes.create_string_buffer(128))


def catch_faults() -> int:
    return system_call("userfaultfd", 0)


def watch_performance() -> int:
    return system_call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0)


def run_written_code() -> str:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    return f"{len(page)} bytes"


def memory_bomb() -> str:
    held = [np.ones(BOMB_BYTES, dtype=np.uint8) for _ in range(1024)]
    return f"{len(held) * BOMB_BYTES} bytes"


def tell_what_was_found() -> str:
    return json.dumps(FOUND)


def attempt(channel: Channel) -> None:
    """Take any model as given, then do what each request says and tell how it went."""
    _accept_model(channel)
    while True:
        _, count, _, _ = channel.request()
        ((_, said),) = channel.read_tensors(count)
        order = json.loads(said.tobytes())
        lie = LIES.get(order["name"])
        if lie is not None:
            lie(channel)
            continue
        answer = outcome(globals()[order["name"]], order["arguments"])
        channel.send_tensors([np.frombuffer(answer.encode(), dtype=np.uint8)])


def outcome(attack: Callable[..., object], arguments: list[Any]) -> str:
    try:
        return f"escaped: {attack(*arguments)}"
    except socket.gaierror as exc:
        return f"stopped: {exc.strerror}"
    except OSError as exc:
        return f"stopped: {errno.errorcode.get(exc.errno or 0, exc)}"
    except (MemoryError, RuntimeError, ValueError) as exc:
        return f"stopped: {type(exc).__name__}"


def _accept_model(channel: Channel) -> None:
    _, _, text_bytes, model_bytes = channel.request()
    channel.read(text_bytes + model_bytes + len(wire.VERIFIED))
    channel.send_tensors([np.ones(1, dtype=np.uint8)])


# Lies: the answer should be one uint8 tensor of any length, at most `OUTCOME_BYTES_MAX`.

OUTCOME_BYTES_MAX = 1000


def _send(channel: Channel, *, status=wire.OK, count=1, text=0, head=(0, 2, 1, 3), data=b"abc"):
    place, code, rank, *dimensions = head
    padded = [*dimensions, *[0] * 8][:8]
    channel.send(wire.REPLY.pack(status, count, text))
    channel.send(tensors.HEADER.pack(place, code, rank, *padded) + data)


def _hang_awake(channel: Channel) -> None:
    while True:
        pass


def _drip(channel: Channel) -> None:
    """Send one byte now and then, for ever."""
    channel.send(wire.REPLY.pack(wire.OK, 1, 0) + tensors.HEADER.pack(0, 2, 1, 900, *[0] * 7))
    while True:
        channel.send(b"x")
        time.sleep(0.05)


def _crash(channel: Channel) -> None:
    ctypes.string_at(0)


def _close_pipe(channel: Channel) -> None:
    os.close(channel._sink)
    time.sleep(60)


def _unasked(channel: Channel) -> None:
    answer = np.zeros(3, dtype=np.uint8)
    reply = wire.REPLY.pack(wire.OK, 1, 0) + tensors.header(0, answer) + answer.tobytes()
    channel.send(2 * reply)  # at once: the second is there when the first has been read


LIES: dict[str, Callable[[Channel], object]] = {
    "hang_asleep": lambda channel: time.sleep(60),
    "hang_awake": _hang_awake,
    "drip": _drip,
    "exit": lambda channel: os._exit(7),
    "abort": lambda channel: os.abort(),
    "crash": _crash,
    "close_pipe": _close_pipe,
    "unasked": _unasked,
    "status": lambda channel: _send(channel, status=9),
    "count": lambda channel: _send(channel, count=2),
    "text_beside_tensors": lambda channel: _send(channel, text=5),
    "long_text": lambda channel: _send(channel, status=wire.UNUSABLE, count=0, text=60_000),
    "type_code": lambda channel: _send(channel, head=(0, 8, 1, 3)),
    "other_type": lambda channel: _send(channel, head=(0, 1, 1, 3)),
    "rank": lambda channel: _send(channel, head=(0, 2, 2, 1, 3)),
    "rank_code": lambda channel: _send(channel, head=(0, 2, 200, 3)),
    "hidden_dimension": lambda channel: _send(channel, head=(0, 2, 1, 3, 7)),
    "order": lambda channel: _send(channel, head=(1, 2, 1, 3)),
    "too_long": lambda channel: _send(channel, head=(0, 2, 1, 1001)),
    "giant": lambda channel: _send(channel, head=(0, 2, 1, 2**63)),
    "short": lambda channel: (_send(channel, head=(0, 2, 1, 900)), os._exit(0)),
    "noise": lambda channel: channel.send(b"\xff" * 4096),
}
