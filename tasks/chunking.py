"""Cut a job's images into chunks. Pure."""

from __future__ import annotations

import math
import random
from typing import Final

from workers.protocol import limits

#: Chunks wanted for each node at work: enough that a slow node holds up little.
CHUNKS_PER_NODE: Final = 4
#: When fewer than so many of them are left for each node, they become smaller.
LAST_PER_NODE: Final = 2
#: But not smaller than this, were they larger before; see Note [Uneven chunks].
LAST_SIZE_MIN: Final = 5
#: One place is kept for a picture whose answer is known.
IMAGES_MAX: Final = limits.CHUNK_ITEMS_MAX - 1
#: A chunk should not take longer than this, milliseconds.
CHUNK_MS_MAX: Final = 10_000


def chunk_size(*, images: int, nodes: int, image_ms: float, images_max: int = IMAGES_MAX) -> int:
    """Return how many images a chunk of the job holds at most, 1..`images_max`.

    Small when there are few images for many nodes (the first result comes soon), larger
    when there are many (fewer messages), never so large that a chunk takes 10 seconds.
    While no node is there, one is expected.
    """
    spread = images // (max(1, nodes) * CHUNKS_PER_NODE)
    return max(1, min(spread, images_in_time(image_ms), images_max, IMAGES_MAX))


def images_in_time(image_ms: float) -> int:
    """Return how many images are computed in CHUNK_MS_MAX at this pace; one at least."""
    return max(1, int(CHUNK_MS_MAX // max(1.0, image_ms)))


def expected_count(*, images: int, size: int, nodes: int) -> int:
    """Return about how many chunks `cut` makes of so many images."""
    left, count = float(images), 0
    while left > 0:
        bound = _bound(math.ceil(left), size=size, nodes=nodes)
        left -= (4 * bound * bound + 3 * bound - 1) / (6 * bound)
        count += 1
    return count


def cut(ids: list[str], *, size: int, nodes: int, randomness: random.Random) -> list[list[str]]:
    """Split `ids` into runs of 1 to `size`, in order, none empty, the last ones smaller.

    See Note [Uneven chunks] and Note [Smaller chunks at the end].
    """
    runs: list[list[str]] = []
    start = 0
    while start < len(ids):
        bound = _bound(len(ids) - start, size=size, nodes=nodes)
        length = max(randomness.randint(1, bound), randomness.randint(1, bound))
        runs.append(ids[start : start + length])
        start += length
    return runs


def _bound(left: int, *, size: int, nodes: int) -> int:
    """Return how large the next chunk may be with so many images left, 1..`size`."""
    return max(min(size, LAST_SIZE_MIN), min(size, left // (max(1, nodes) * LAST_PER_NODE)))


# Note [Uneven chunks]
# ~~~~~~~~~~~~~~~~~~~~
# Some chunks carry one more picture, whose answer is known (`verification.gold`). Were all of
# a job's chunks of one size, those with one more would be known, and a node could lie in all
# others. Of s pictures of its own a chunk has with probability (2s - 1) / size^2: to be shown
# s is nearly as probable with gold among them as without, for every s. Only a picture shown
# alone is surely no gold; at size 15 that is one in 2,400.
#
# Note [Smaller chunks at the end]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# Big chunks first, small ones last (guided self-scheduling, Polychronopoulos and Kuck 1987): who
# gets the last one holds the job up for as long as it takes. Each chunk is drawn as in
# Note [Uneven chunks], with a smaller size as the images run out, so the rule there holds for
# each of them by its own size. The smaller the size, the likelier a chunk of one; therefore they
# shrink to 5 at least, where a picture shown alone is one in 95. A job whose chunks are smaller
# from the start, for it has few pictures for each node, keeps its size to the end.
