"""Try a model on the platform's own machine before any node sees it.

The trial is the node's own code (`workers.trial`) in a process of its own: clean
environment, limits on memory, CPU, files and time. In it the model runs in a locked room.
Whatever the model does, only a code comes back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tasks.errors import Refused
from workers import protocol
from workers.protocol import messages

SECONDS_MAX: Final = 120
ANSWER_BYTES_MAX: Final = 64 * 1024
#: Slower models cannot finish a chunk in time.
IMAGE_MS_MAX: Final = 10_000
#: Trials at one time in this process, and how long an upload waits for its turn, seconds.
AT_ONCE: Final = 1
WAIT_SECONDS_MAX: Final = 60

_turns = threading.BoundedSemaphore(AT_ONCE)


class Busy(Refused):
    """Other models are being tried; try again soon."""

    code, status = "busy", 429


class TrialFailed(Exception):
    """The model did not pass: `code` says how."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was measured, on one thread of this machine."""

    image_ms: int
    load_ms: int
    memory_bytes: int
    numeric_class: str


def run(data: bytes, reference: messages.ModelReference) -> Trial:
    """Try a checked model on three pictures.

    Raises:
        TrialFailed: trial_timeout, trial_memory, trial_crashed, trial_failed,
            trial_unavailable, too_slow, or the decoder's or check's own code.
        Busy: no turn within a minute.
    """
    if not _turns.acquire(timeout=WAIT_SECONDS_MAX):
        raise Busy("Other models are being tried; try again soon.")
    try:
        with tempfile.TemporaryDirectory(prefix="nodefolk-trial-") as folder:
            path = Path(folder) / "model"
            path.write_bytes(data)
            answer = _ask(path, reference)
    finally:
        _turns.release()
    if answer["code"]:
        raise TrialFailed(str(answer["code"]), str(answer["detail"])[:500])
    trial = Trial(**{key: value for key, value in answer.items() if key != "code"})
    if trial.image_ms > IMAGE_MS_MAX:
        raise TrialFailed("too_slow", f"One picture takes {trial.image_ms} ms.")
    return trial


def _ask(path: Path, reference: messages.ModelReference) -> dict[str, Any]:
    """Start the process, hand it the reference, and read its answer, for a bounded time."""
    root = Path(protocol.__file__).parents[2]
    child = subprocess.Popen(  # noqa: S603 -- our own module, no shell, a path of our own
        [sys.executable, "-m", "workers.trial", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    timed_out = threading.Event()

    def end() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(SECONDS_MAX, end)
    timer.start()
    try:
        with child:
            output = _exchange(child, reference)
    finally:
        timer.cancel()
        child.kill()
    return _read(output, returncode=child.returncode, is_late=timed_out.is_set())


def _exchange(child: subprocess.Popen[bytes], reference: messages.ModelReference) -> bytes:
    stdin, stdout = _pipe(child.stdin), _pipe(child.stdout)
    try:
        stdin.write(reference.model_dump_json().encode())
        stdin.close()
    except BrokenPipeError:  # it died before it read; the return code tells
        return b""
    output = stdout.read(ANSWER_BYTES_MAX + 1)
    if len(output) > ANSWER_BYTES_MAX:
        child.kill()
    return output


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "asked for when it was started"
    return pipe


def _read(output: bytes, *, returncode: int, is_late: bool) -> dict[str, Any]:
    if is_late or returncode == -24:  # SIGXCPU
        raise TrialFailed("trial_timeout", f"It took more than {SECONDS_MAX} seconds.")
    if returncode != 0:
        raise TrialFailed("trial_crashed", f"Its process ended with {returncode}.")
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as exc:
        raise TrialFailed("trial_crashed", "Its process answered nonsense.") from exc
    return answer
