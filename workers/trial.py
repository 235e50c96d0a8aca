"""Run a stranger's model once, under limits, exactly as a node would: `python -m workers.trial`.

The platform starts this as a process of its own for each upload. It reads the model's
reference as JSON from stdin and the model from the file named as its only argument, and
prints one JSON object: what it measured, or the code of what went wrong. It answers nothing
else, and it ends itself when it exceeds a limit.
"""

from __future__ import annotations

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

from workers import answering, sessions
from workers.protocol import messages
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.modelcheck.refusals import Refused

MEMORY_BYTES_MAX: Final = 6 * 1024**3
CPU_SECONDS_MAX: Final = 90
FILES_MAX: Final = 64
#: Bytes of the reference read from stdin.
REFERENCE_BYTES_MAX: Final = 1024 * 1024
#: Sides of the pictures tried: one larger than most models take, one tall, one tiny.
PICTURES: Final = ((1280, 960), (600, 1100), (16, 16))
#: Runs over the first picture whose median is the time of an image.
ROUNDS: Final = 3
#: A score threshold low enough for every candidate to be decoded.
FLOOR: Final = 0.05


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
    except (sessions.OutOfMemory, MemoryError):
        return {"code": "trial_memory", "detail": "It needs more memory than nodes give."}
    except (sessions.Unusable, sessions.Corrupt) as exc:
        return {"code": "trial_failed", "detail": str(exc)}


def _measure(path: Path, reference: messages.ModelReference) -> dict[str, Any]:
    started = time.perf_counter()
    model = sessions.load(reference.digest, path)
    load_ms = (time.perf_counter() - started) * 1000
    seconds = []
    pictures = [_picture(*size) for size in PICTURES]
    for data in [*pictures, *pictures[:1] * ROUNDS]:
        started = time.perf_counter()
        answering.answer(data, model, reference=reference, position=0, floor=FLOOR)
        seconds.append(time.perf_counter() - started)
    return {
        "code": "",
        "image_ms": max(1, round(statistics.median(seconds[len(pictures) :]) * 1000)),
        "load_ms": round(load_ms),
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "numeric_class": sessions.numeric_class(),
    }


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
