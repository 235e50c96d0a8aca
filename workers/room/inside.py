"""What runs in a room: load the libraries, shut the locks, then take a model and run it.

Started by `workers.sandbox` in a fresh interpreter. Nothing of a model is read before the locks
are shut, and nothing is believed of what is sent back.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from workers.room import area, graphs, locks, tensors, wire
from workers.room.area import Layout
from workers.room.graphs import Graph
from workers.room.tensors import TensorSpec

STDIN, STDOUT, STDERR = 0, 1, 2
#: A room that nobody asked for so long gives back what it does not need, seconds.
IDLE_SECONDS: Final = 1.0

Work = Callable[["Channel"], None]


class Channel:
    """The room's end of the two pipes."""

    def __init__(self) -> None:
        """Take the pipes away from where a library might print."""
        self._source = os.dup(STDIN)
        self._sink = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        os.close(STDIN)
        self._area: mmap.mmap | None = None

    def attach(self, descriptor: int) -> None:
        """Look at the keeper's memory for large inputs."""
        self._area = area.attach(descriptor)

    def wait(self, seconds: float) -> bool:
        """Say whether the next request begins within these seconds."""
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def request(self) -> tuple[int, int, int, int]:
        """Wait for the next request: kind, tensors, bytes of text, bytes of model."""
        kind, count, text_bytes, model_bytes = wire.REQUEST.unpack(self.read(wire.REQUEST.size))
        return kind, count, text_bytes, model_bytes

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        return wire.read(self._source, size)

    def read_tensors(self, count: int) -> list[tuple[int, Any]]:
        """Return places and tensors of a request."""
        found = []
        layout = Layout(0 if self._area is None else len(self._area))
        for _ in range(count):
            place, dtype, shape = tensors.read_header(self.read(tensors.HEADER.size))
            items = math.prod(shape)
            offset = layout.place(items * dtype.itemsize)
            if offset is not None and self._area is not None:
                flat = np.frombuffer(self._area, dtype=dtype, count=items, offset=offset)
                found.append((place, flat.reshape(shape)))
                continue
            array, raw = tensors.empty(dtype, shape)
            wire.read_into(self._source, raw)
            found.append((place, array))
        return found

    def send_tensors(self, arrays: list[Any]) -> None:
        """Answer with tensors, all headers first."""
        headers = b"".join(tensors.header(place, each) for place, each in enumerate(arrays))
        self.send(wire.REPLY.pack(wire.OK, len(arrays), 0) + headers)
        for each in arrays:
            self.send(tensors.bytes_of(each))

    def send_refusal(self, status: int, exc: BaseException) -> None:
        """Answer with a reason."""
        text = wire.text_of(exc)
        self.send(wire.REPLY.pack(status, 0, len(text)) + text)

    def send(self, data: bytes | memoryview) -> None:
        """Write bytes as they are."""
        wire.write(self._sink, data)


def main(work: Work | None = None) -> None:
    """Get ready, say which locks hold, and work until the keeper closes the pipe.

    `work` replaces what is done behind the locks; the tests try to escape with it.
    """
    channel = Channel()
    try:
        graphs.warm_up()
        settings = json.loads(sys.argv[1])
        descriptor = settings.pop("area")
        if descriptor is not None:
            channel.attach(descriptor)
        held = locks.shut(**settings)
    except Exception as exc:  # noqa: BLE001 -- the keeper reports it, there is no log in here
        channel.send_refusal(wire.BROKEN, exc)
        return
    channel.send_tensors([np.array([name in held for name in locks.NAMES], dtype=np.uint8)])
    try:
        (work or serve)(channel)
    except wire.Ended:
        return


def serve(channel: Channel) -> None:
    """Open one model and run it as often as asked."""
    _, _, text_bytes, model_bytes = channel.request()
    declared = json.loads(channel.read(text_bytes))
    inputs, outputs = _specs(declared["inputs"]), _specs(declared["outputs"])
    content = channel.read(model_bytes)
    if channel.read(len(wire.VERIFIED)) != wire.VERIFIED:
        return
    try:
        graph = Graph(content, inputs=inputs, outputs=outputs)
    except (graphs.Unusable, graphs.TooLarge) as exc:
        channel.send_refusal(_status(exc), exc)
        return
    del content
    graphs.give_back_memory()
    channel.send_tensors([np.array(graph.takes, dtype=np.uint8)])
    names = [spec.name for spec in inputs]
    while True:
        if not channel.wait(IDLE_SECONDS):
            graphs.give_back_memory()
        _answer(channel, graph, names)


def _answer(channel: Channel, graph: Graph, names: list[str]) -> None:
    _, count, _, _ = channel.request()
    try:
        feeds = {names[place]: each for place, each in channel.read_tensors(count)}
        channel.send_tensors(graph.run(feeds))
        if any(each.nbytes >= graphs.LARGE_BYTES_MIN for each in feeds.values()):
            graphs.give_back_memory()
    except (graphs.Unusable, graphs.TooLarge, tensors.Mismatch) as exc:
        channel.send_refusal(_status(exc), exc)


def _status(exc: Exception) -> int:
    return wire.TOO_LARGE if isinstance(exc, graphs.TooLarge) else wire.UNUSABLE


def _specs(declared: list[dict[str, Any]]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name=each["name"],
            dtypes=tuple(each["dtypes"]),
            shape=tuple(each["shape"]),
            bytes_max=each["bytes_max"],
            is_optional=each["is_optional"],
        )
        for each in declared
    ]
