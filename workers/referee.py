"""Compute pictures as any node would, for the platform itself: `python -m workers.referee`.

The platform starts this on its own machine, as a process of its own. Arguments: the model's
file, then the pictures' files; on stdin a JSON object {"reference", "floor"}. It prints one
JSON object: {"code": "", "answers": [...], "numeric_class"}, or a code of what went wrong.
The model runs in a locked room.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from workers import answering, sandbox, sessions
from workers.protocol import messages, pictures
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.modelcheck.refusals import Refused
from workers.sandbox import RoomLimits
from workers.sessions import Sessions

MEMORY_BYTES_MAX: Final = 6 * 1024**3
CPU_SECONDS_MAX: Final = 90
ROOM: Final = RoomLimits(open_seconds=30, run_seconds=30, priority="normal")
FILES_MAX: Final = 128
REQUEST_BYTES_MAX: Final = 1024 * 1024
#: What may go wrong -> the code to answer; the same words nodes use.
_CODES: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((pictures.Unreadable,), "unreadable_input"),
    ((sessions.OutOfMemory, MemoryError), "out_of_memory"),
    ((sessions.Unusable, sessions.Corrupt, Refused, BadOutput), "model_unusable"),
    ((sandbox.RoomHung,), "model_hung"),
    ((sandbox.NotLocked, sandbox.RoomUnavailable), "room_unavailable"),
    ((sandbox.RoomFailed,), "model_died"),
)


def main(argv: Sequence[str]) -> int:
    """Compute and print the outcome."""
    _limit()
    request = json.loads(sys.stdin.buffer.read(REQUEST_BYTES_MAX))
    reference = messages.ModelReference.model_validate_json(json.dumps(request["reference"]))
    model, *files = map(Path, argv)
    answer = compute(model, files, reference=reference, floor=float(request["floor"]))
    print(json.dumps(answer))  # noqa: T201 -- the answer to the parent
    return 0


def compute(
    model_path: Path,
    files: Sequence[Path],
    *,
    reference: messages.ModelReference,
    floor: float,
) -> dict[str, Any]:
    """Return the answers to all pictures, or the code of the first failure."""
    known = tuple(kind for kinds, _ in _CODES for kind in kinds)
    try:
        with contextlib.closing(Sessions(room_limits=ROOM)) as opened:
            model = opened.open(reference.digest, model_path, reference.contract)
            answers = [
                answering.answer(
                    file.read_bytes(),
                    model,
                    class_ids=reference.class_ids,
                    position=position,
                    floor=floor,
                ).model_dump(mode="json")
                for position, file in enumerate(files)
            ]
    except known as exc:
        return {"code": next(code for kinds, code in _CODES if isinstance(exc, kinds))}
    return {"code": "", "answers": answers, "numeric_class": sessions.numeric_class()}


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
