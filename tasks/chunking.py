"""Cut a job's images into chunks. Pure."""

from __future__ import annotations

import math
import random

from workers.protocol import limits

#: Chunks wanted for each node at work: enough that a slow node holds up little.
CHUNKS_PER_NODE = 4
#: One place is kept for a picture whose answer is known.
IMAGES_MAX = limits.CHUNK_ITEMS_MAX - 1
#: A chunk should not take longer than this on one thread, milliseconds.
CHUNK_MS_MAX = 10_000


def chunk_size(*, images: int, nodes: int, image_ms: int) -> int:
    """Return how many images a chunk of the job holds, 1..IMAGES_MAX.

    Small when there are few images for many nodes (the first result comes soon), larger
    when there are many (fewer messages), never so large that a chunk takes 10 seconds.
    While no node is there, one is expected.
    """
    spread = images // (max(1, nodes) * CHUNKS_PER_NODE)
    bound = CHUNK_MS_MAX // max(1, image_ms)
    return max(1, min(spread, bound, IMAGES_MAX))


def expected_count(*, images: int, size: int) -> int:
    """Return about how many chunks `cut` makes of so many images."""
    mean_size = (4 * size * size + 3 * size - 1) / (6 * size)
    return math.ceil(images / mean_size)


def cut(ids: list[str], *, size: int, randomness: random.Random) -> list[list[str]]:
    """Split `ids` into runs of 1 to `size`, in order, none empty. See Note [Uneven chunks]."""
    runs: list[list[str]] = []
    start = 0
    while start < len(ids):
        length = max(randomness.randint(1, size), randomness.randint(1, size))
        runs.append(ids[start : start + length])
        start += length
    return runs


# Note [Uneven chunks]
# ~~~~~~~~~~~~~~~~~~~~
# Some chunks carry one more picture, whose answer is known (`verification.gold`). Were all of
# a job's chunks of one size, those with one more would be known, and a node could lie in all
# others. Of s pictures of its own a chunk has with probability (2s - 1) / size^2: to be shown
# s is nearly as probable with gold among them as without, for every s. Only a picture shown
# alone is surely no gold; at size 15 that is one in 2,400.
