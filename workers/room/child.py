"""The keeper's hold on a room's process: start it, bytes in and out by a deadline, end it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PIPE_BYTES: Final = 1024 * 1024
#: A room that is ready to run and gets no processor is waited for this much longer.
STARVED_FACTOR: Final = 10
#: How long a room that closed its pipe has to be gone, seconds.
GONE_SECONDS: Final = 2.0
#: All that is in a room's environment: without, numpy and the runtime start threads, the
#: runtime's for sending usage figures to its maker.
ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}

#: Linux sends "your parent died" when the *thread* that started a child ends, so that all are
#: started by one that lives as long as the program; by process, for a fork has no threads.
_starters: Final[dict[int, ThreadPoolExecutor]] = {}


class RoomFailed(Exception):
    """The room is gone; `signature` says how, the same words for the same failure."""

    def __init__(self, signature: str) -> None:
        super().__init__(signature)
        self.signature = signature


class RoomDied(RoomFailed):
    """The process ended by itself, or something killed it."""


class RoomHung(RoomFailed):
    """It did not answer in time."""


class RoomLied(RoomFailed):
    """It answered something that was not declared."""


@dataclass
class Deadline:
    """Seconds for one exchange: on the clock when the room sleeps, else of its processor."""

    what: str
    seconds: float
    started: float
    started_cpu: float
    until: float


class Child:
    """A process with two pipes. Not safe for threads."""

    def __init__(self, command: Sequence[str], *, descriptors: Sequence[int] = ()) -> None:
        """Start it in a session of its own, with nothing of ours but `descriptors`.

        Raises:
            OSError, RuntimeError: it could not be started.
        """
        starter = _starters.setdefault(
            os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="rooms")
        )
        self._process = starter.submit(_start, command, descriptors).result()
        self._sink, self._source = _descriptors(self._process)
        for descriptor in (self._sink, self._source):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError, AttributeError):  # Linux only, and bounded there
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def deadline(self, what: str, seconds: float) -> Deadline:
        """Begin to count the time of one exchange."""
        now = time.monotonic()
        return Deadline(what, seconds, now, self._cpu()[1], now + seconds)

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        """Write all of `data`.

        Raises:
            RoomDied, RoomHung.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._sink, rest) :]
            except BlockingIOError:
                self._wait(self._sink, select.POLLOUT, deadline)
            except BrokenPipeError as exc:
                raise self._died() from exc

    def fill(self, target: memoryview, deadline: Deadline) -> None:
        """Read exactly as much as fits into `target`.

        Raises:
            RoomDied, RoomHung.
        """
        filled = 0
        while filled < len(target):
            try:
                count = os.readv(self._source, [target[filled:]])
            except BlockingIOError:
                self._wait(self._source, select.POLLIN, deadline)
                continue
            if count == 0:
                raise self._died()
            filled += count

    def check_silence(self) -> None:
        """See that nothing was said without being asked.

        Raises:
            RoomLied, RoomDied.
        """
        try:
            unasked = os.read(self._source, 1)
        except BlockingIOError:
            return
        raise RoomLied("lied: bytes without a question") if unasked else self._died()

    def kill(self) -> None:
        """Kill it and all of its session; whoever waits for it is told so."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    def end(self) -> None:
        """Kill it, wait for it and close the pipes. May be called twice."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _wait(self, descriptor: int, event: int, deadline: Deadline) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        seconds = deadline.until - time.monotonic()
        if seconds > 0 and poll.poll(seconds * 1000):
            return
        self._extend(deadline)

    def _extend(self, deadline: Deadline) -> None:
        """Give more time to a room that wants to run and was not let."""
        now = time.monotonic()
        if now < deadline.until:
            return
        is_ready, cpu = self._cpu()
        missing = deadline.seconds - (cpu - deadline.started_cpu)
        is_over = now - deadline.started > deadline.seconds * STARVED_FACTOR
        if not is_ready or missing <= 0 or is_over:
            raise RoomHung(f"hung: {deadline.what}")
        deadline.until = now + missing

    def _cpu(self) -> tuple[bool, float]:
        """Return whether it is ready to run and the processor seconds it had so far."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False, 0.0
        fields = text.rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return fields[0] in "RD", ticks / os.sysconf("SC_CLK_TCK")

    def _died(self) -> RoomDied:
        try:
            code = self._process.wait(GONE_SECONDS)
        except subprocess.TimeoutExpired:
            return RoomDied("died: closed its pipe")
        if code >= 0:
            return RoomDied(f"died: exit {code}")
        return RoomDied(f"died: {_signal_name(-code)}")


def _start(command: Sequence[str], descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- this interpreter and code of ours
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        pass_fds=descriptors,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _descriptors(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    if process.stdin is None or process.stdout is None:  # never: both are pipes
        raise OSError("no pipes")
    return process.stdin.fileno(), process.stdout.fileno()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def python_command(code: str, *arguments: str) -> list[str]:
    """Return the command of a Python that reads no environment, user folder or .pth file."""
    return [sys.executable, "-I", "-S", "-B", "-c", code, *arguments]
