"""Run the node's own code for a model in a process of its own, and read one JSON answer.

Clean environment, bounded time and bytes. Whatever the model does in there, all that comes
back is an object or a code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from workers import protocol

#: SIGXCPU, by which the kernel ends a process that used up its CPU time.
_OUT_OF_TIME = -24


class ProcessFailed(Exception):
    """There is no answer; `code` is "timeout" or "crashed"."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def ask(
    module: str,
    arguments: Sequence[str],
    *,
    request: bytes,
    seconds_max: float,
    answer_bytes_max: int,
) -> dict[str, Any]:
    """Start `python -m module`, hand it the request on stdin, and return what it prints.

    Raises:
        ProcessFailed.
    """
    child = subprocess.Popen(  # noqa: S603 -- our own module, no shell, paths of our own
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(protocol.__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    timed_out = threading.Event()

    def end() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(seconds_max, end)
    timer.start()
    try:
        with child:
            output = _exchange(child, request, answer_bytes_max)
    finally:
        timer.cancel()
        child.kill()
    if timed_out.is_set() or child.returncode == _OUT_OF_TIME:
        raise ProcessFailed("timeout", f"It took more than {seconds_max:.0f} seconds.")
    return _read(output, returncode=child.returncode)


def _exchange(child: subprocess.Popen[bytes], request: bytes, answer_bytes_max: int) -> bytes:
    stdin, stdout = _pipe(child.stdin), _pipe(child.stdout)
    try:
        stdin.write(request)
        stdin.close()
    except BrokenPipeError:  # it died before it read; the return code tells
        return b""
    output = stdout.read(answer_bytes_max + 1)
    if len(output) > answer_bytes_max:
        child.kill()
    return output


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "asked for when it was started"
    return pipe


def _read(output: bytes, *, returncode: int) -> dict[str, Any]:
    if returncode != 0:
        raise ProcessFailed("crashed", f"Its process ended with {returncode}.")
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as exc:
        raise ProcessFailed("crashed", "Its process answered nonsense.") from exc
    return answer
