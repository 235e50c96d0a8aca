"""Try a model on the platform's own machine before any node sees it.

The trial is the node's own code (`workers.trial`) in a process of its own: clean
environment, limits on memory, CPU, files and time. In it the model runs in a locked room.
Whatever the model does, only a code comes back.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tasks import model_process
from tasks.errors import Refused
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
    try:
        return model_process.ask(
            "workers.trial",
            [str(path)],
            request=reference.model_dump_json().encode(),
            seconds_max=SECONDS_MAX,
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
    except model_process.ProcessFailed as exc:
        raise TrialFailed(f"trial_{exc.code}", str(exc)) from exc
