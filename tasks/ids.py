"""Identifiers shown outside: a prefix, a sortable time and 80 random bits.

Sortable (ULID, Crockford's base 32, lower case) so that indexes stay compact; random
enough that nobody guesses a node's queue name, which AMQP lets anyone ask about.
"""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: Characters after the prefix: 10 of time (milliseconds), 16 random.
LENGTH = 26


def new(prefix: str) -> str:
    """Return `prefix_` and 26 characters, for example `job_01jd0x...`."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    text = "".join(ALPHABET[(number >> shift) & 31] for shift in range((LENGTH - 1) * 5, -1, -5))
    return f"{prefix}_{text}"


def new_job() -> str:
    """Return a job's id."""
    return new("job")


def new_dataset() -> str:
    """Return a data set's id."""
    return new("ds")


def new_image() -> str:
    """Return an image's id."""
    return new("img")


def new_model() -> str:
    """Return a catalog model's id."""
    return new("mdl")


def new_node() -> str:
    """Return a node's id."""
    return new("node")


def new_key() -> str:
    """Return an API key's id."""
    return new("key")
