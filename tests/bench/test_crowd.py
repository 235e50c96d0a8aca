"""Light nodes read the bodies out of a stream of AMQP frames, however it is cut."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from bench.crowd import Deliveries

PROPERTIES = b"\x80\x00\x10application/json"


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def delivery(body: bytes, *, part_bytes: int) -> bytes:
    """Return a basic.deliver with its content, the body in frames of at most that size."""
    parts = [body[at : at + part_bytes] for at in range(0, len(body), part_bytes)]
    return b"".join(
        [
            frame(1, struct.pack(">HH", 60, 60) + b"\x04None\x00"),
            frame(2, struct.pack(">HHQ", 60, 0, len(body)) + PROPERTIES),
            *(frame(3, part) for part in parts),
        ]
    )


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=60), max_size=5),
    part_bytes=st.integers(1, 40),
    piece_bytes=st.integers(1, 90),
)
def test_bodies_come_whole_and_in_order(bodies, part_bytes, piece_bytes):
    heartbeat = frame(8, b"")
    stream = heartbeat + b"".join(delivery(body, part_bytes=part_bytes) for body in bodies)
    deliveries = Deliveries()

    found = [
        body
        for at in range(0, len(stream), piece_bytes)
        for body in deliveries.feed(stream[at : at + piece_bytes])
    ]

    assert found == bodies
