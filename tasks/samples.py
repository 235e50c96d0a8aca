"""Whom an announcement reaches: everybody in a small fleet, a sample of a large one. Pure.

A node's bucket is the last character of its id, which is random and which the platform chose.
Each node's queue is bound to announcements for all and to those of its own bucket, so the
broker leaves the others alone and a sample costs one message a bucket, not one a node. A job
goes through the buckets in an order of its own; while it has work that nobody takes, sweeps
tell the next ones. An ack is an offer, whoever makes it: one from outside the sample is as good.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

from tasks import ids

BUCKETS: Final = ids.ALPHABET
#: Up to so many nodes online are all told.
FLEET_ALL_MAX: Final = 2000
#: A sample holds so many nodes for each replica that is wanted, and never fewer than the least.
MARGIN: Final = 2.0
NODES_MIN: Final = 100


def bucket(node_id: str) -> str:
    """Return the bucket of a node, one of BUCKETS."""
    return node_id[-1]


def draw(*, job_id: str, told: int, nodes: int, wanted: int) -> str:
    """Return the buckets to tell now, each a character; "" for everybody.

    `told`: buckets told before, in all; `nodes`: online; `wanted`: replicas to be given out.
    Going on with `told` raised by what was drawn reaches every bucket before any a second time.
    """
    if nodes <= FLEET_ALL_MAX:
        return ""
    least = max(NODES_MIN, MARGIN * wanted)
    count = math.ceil(least * len(BUCKETS) / nodes)
    if count >= len(BUCKETS):
        return ""
    order = sorted(BUCKETS, key=lambda each: hashlib.sha256(f"{job_id}{each}".encode()).digest())
    return "".join(order[(told + step) % len(order)] for step in range(count))
