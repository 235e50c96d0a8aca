"""Cut a job's images into chunks. Pure."""

from __future__ import annotations

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


def cut(ids: list[str], *, size: int) -> list[list[str]]:
    """Split `ids` into runs of at most `size`, in order, none empty."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]
