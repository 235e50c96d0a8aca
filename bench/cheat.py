"""A real node whose answers are altered before it signs them: what an attacker would run.

`python -m bench.cheat KIND --home DIR run`: the node's own program, with the one function
that makes an answer replaced. Nothing else of it is touched, and nothing of the platform.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from typing import Any

from workers import answering, cli
from workers.protocol import messages

#: How often the rare liar lies.
RARELY = 0.05
#: A lie must be one that agreement sees: the box moves by this share of its size.
SHIFT = 0.3


def collude(honest: messages.Answer, data: bytes) -> messages.Answer:
    """Tell the lie all colluders tell of this picture: its digest says which."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:4])
    return _shifted(honest, share=SHIFT + (seed % 7) / 100)


def rarely(honest: messages.Answer, _data: bytes) -> messages.Answer:
    """Lie now and then, each time another lie."""
    if random.random() >= RARELY:
        return honest
    return _shifted(honest, share=SHIFT + random.random() / 4)


def nothing(honest: messages.Answer, _data: bytes) -> messages.Answer:
    """Say that there is nothing on any picture."""
    return honest.model_copy(update={"detections": []})


KINDS: dict[str, Callable[[messages.Answer, bytes], messages.Answer]] = {
    "collude": collude,
    "rarely": rarely,
    "nothing": nothing,
}


def _shifted(honest: messages.Answer, *, share: float) -> messages.Answer:
    """Move every box towards the picture's middle by a share of its size."""

    def move(start: float, length: float, side: int) -> float:
        step = share * length if start + length / 2 < side / 2 else -share * length
        return min(max(0.0, start + step), side - length)

    moved = [
        (label, score, move(x, w, honest.width), move(y, h, honest.height), w, h)
        for label, score, x, y, w, h in honest.detections
    ]
    return honest.model_copy(update={"detections": moved})


def main() -> int:
    """Run the node's program with altered answers."""
    lie = KINDS[sys.argv[1]]
    honest = answering.answer

    def altered(data: bytes, *args: Any, **kwargs: Any) -> messages.Answer:
        return lie(honest(data, *args, **kwargs), data)

    answering.answer = altered
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
