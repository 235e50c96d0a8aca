"""Run a stranger's model in a locked room, as a node would: `python -m workers.trial`.

The platform starts this as a process of its own for each upload. It reads the model's
reference as JSON from stdin and the model from the file named as its only argument, and
prints one JSON object: what it measured, or the code of what went wrong. It answers nothing
else, and it ends itself when it exceeds a limit.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from workers import answering, sandbox, sessions
from workers.protocol import messages
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.modelcheck.refusals import Refused
from workers.sandbox import RoomLimits
from workers.sessions import OpenModel, Sessions

#: Of this process and, at most, of its room, whose own limit is lower.
MEMORY_BYTES_MAX: Final = 6 * 1024**3
CPU_SECONDS_MAX: Final = 120
#: The room of a trial: nodes' memory, less patience.
ROOM: Final = RoomLimits(open_seconds=30, run_seconds=15, priority="normal")
FILES_MAX: Final = 64
#: Bytes of the reference read from stdin.
REFERENCE_BYTES_MAX: Final = 1024 * 1024
#: Sides of the pictures tried: one larger than most models take, one tall, one tiny.
PICTURES: Final = ((1280, 960), (600, 1100), (16, 16))
#: Runs over the first picture whose median is the time of an image.
ROUNDS: Final = 3
#: A score threshold low enough for every candidate to be decoded.
FLOOR: Final = 0.05
#: What may go wrong with a model, or with our machine -> the code to answer.
_CODES: Final[dict[type[Exception], str]] = {
    sessions.OutOfMemory: "trial_memory",
    MemoryError: "trial_memory",
    sessions.Unusable: "trial_failed",
    sessions.Corrupt: "trial_failed",
    sandbox.RoomHung: "trial_timeout",
    sandbox.RoomFailed: "trial_crashed",
    sandbox.NotLocked: "trial_unavailable",
    sandbox.RoomUnavailable: "trial_unavailable",
}


def main(argv: list[str]) -> int:
    """Try the model and print the outcome."""
    _limit()
    text = sys.stdin.buffer.read(REFERENCE_BYTES_MAX)
    reference = messages.ModelReference.model_validate_json(text)
    print(json.dumps(_try(Path(argv[0]), reference)))  # noqa: T201 -- the answer to the parent
    return 0


def _try(path: Path, reference: messages.ModelReference) -> dict[str, Any]:
    try:
        return _measure(path, reference)
    except (Refused, BadOutput) as exc:
        return {"code": exc.code, "tensor": exc.tensor, "detail": str(exc)}
    except tuple(_CODES) as exc:
        code = next(code for kind, code in _CODES.items() if isinstance(exc, kind))
        return {"code": code, "detail": str(exc)}


def _measure(path: Path, reference: messages.ModelReference) -> dict[str, Any]:
    started = time.perf_counter()
    with contextlib.closing(Sessions(room_limits=ROOM)) as opened:
        model = opened.open(reference.digest, path, reference.contract)
        load_ms = (time.perf_counter() - started) * 1000
        image_ms = _image_seconds(model, reference) * 1000
    return {
        "code": "",
        "image_ms": max(1, round(image_ms)),
        "load_ms": round(load_ms),
        # Of the room: it has been waited for.
        "memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "numeric_class": sessions.numeric_class(),
    }


def _image_seconds(model: OpenModel, reference: messages.ModelReference) -> float:
    """Try all pictures; return the median time of the first."""
    seconds = []
    pictures = [_picture(*size) for size in PICTURES]
    for data in [*pictures, *pictures[:1] * ROUNDS]:
        started = time.perf_counter()
        answering.answer(data, model, class_ids=reference.class_ids, position=0, floor=FLOOR)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[len(pictures) :])


def _picture(width: int, height: int) -> bytes:
    """Return a picture of smooth colours and noise, the same every time."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 64, (height, width, 3))
    ramps = np.stack([columns * 191 // width, rows * 191 // height, (rows + columns) % 192], axis=2)
    file = io.BytesIO()
    Image.fromarray((ramps + noise).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_CPU, CPU_SECONDS_MAX),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
