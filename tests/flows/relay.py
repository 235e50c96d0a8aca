"""A TCP relay between a node and its broker: cuts its connections, changes its address."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PART_BYTES = 64 * 1024


class Relay:
    """Passes bytes on; the broker sees its connections come from `address`."""

    def __init__(self, *, target: tuple[str, int], address: str) -> None:
        self._target = target
        self._address = address
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        #: What comes from these goes nowhere.
        self._lost: set[socket.socket] = set()
        self._is_up = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def move(self, address: str) -> int:
        """Reset all connections, as a router does that gets a new address; say how many."""
        with self._lock:
            self._address = address
            cut = list(self._open)
            self._open.clear()
        for each in cut:
            _reset(each)
        return len(cut) // 2

    def lose(self) -> int:
        """Pass nothing on any more and tell nobody, as a router does that forgot; say for how many.

        New connections work.
        """
        with self._lock:
            self._lost |= self._open
            return len(self._open) // 2

    def go_down(self) -> None:
        """Cut all connections and refuse new ones."""
        with self._lock:
            self._is_up = False
        self.move(self._address)

    def come_up(self) -> None:
        with self._lock:
            self._is_up = True

    def close(self) -> None:
        self._listener.close()
        self.move(self._address)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_up:
                _reset(near)
                near.close()
                continue
            try:
                far = socket.create_connection(
                    self._target, timeout=10, source_address=(self._address, 0)
                )
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(PART_BYTES):
                if source not in self._lost:
                    sink.sendall(part)
        with self._lock:
            self._open -= {source, sink}
            self._lost -= {source, sink}
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _reset(connection: socket.socket) -> None:
    """Close with RST: the peer hears of it at once, and nothing more comes."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(*, target: tuple[str, int], address: str) -> Iterator[Relay]:
    relay = Relay(target=target, address=address)
    try:
        yield relay
    finally:
        relay.close()
