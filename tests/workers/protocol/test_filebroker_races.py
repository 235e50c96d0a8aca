from __future__ import annotations

import multiprocessing
import queue as stdqueue
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kombu import Connection

from workers.protocol import filebroker

WRITERS = 4
READERS = 3
MESSAGES = 250
OWNERS = 8
BINDINGS = 20


def connect(folder: Path) -> Connection:
    return Connection(f"{filebroker.SCHEME}://{quote(str(folder))}")


def declare(folder: Path, names: list[str]) -> None:
    """Make the queues, each bound to `assign` under its own name."""
    with connect(folder) as connection:
        channel: Any = connection.channel()
        channel.exchange_declare(exchange="assign", type="direct")
        for name in names:
            channel.queue_declare(queue=name)
            channel.queue_bind(queue=name, exchange="assign", routing_key=name)


def write(folder: Path, writer: int) -> None:
    with connect(folder) as connection:
        channel: Any = connection.channel()
        for number in range(MESSAGES):
            message = channel.prepare_message(f"{writer}-{number}", content_encoding="utf-8")
            channel.basic_publish(message, exchange="assign", routing_key="q")


def read(folder: Path, results: Any, stop: Any) -> None:
    """Take messages until told to stop and nothing is left, then report them all."""
    with connect(folder) as connection:
        channel: Any = connection.channel()
        taken: list[str] = []
        is_empty = False
        while not (is_empty and stop.is_set()):
            is_last = stop.is_set()
            message = channel.basic_get("q")
            is_empty = is_last and message is None
            if message:
                taken.append(bytes(message.body).decode())
                message.ack()
        results.put(taken)


def run(writers: list[Any], readers: list[Any], stop: Any) -> None:
    """Start everybody, and stop the readers when the writers are done."""
    for each in writers + readers:
        each.start()
    for each in writers:
        each.join()
    stop.set()


def expected() -> list[str]:
    return sorted(f"{writer}-{number}" for writer in range(WRITERS) for number in range(MESSAGES))


@pytest.mark.slow
def test_four_writing_and_three_reading_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    declare(tmp_path, ["q"])
    results, stop = context.Queue(), context.Event()
    writers = [context.Process(target=write, args=(tmp_path, n)) for n in range(WRITERS)]
    readers = [context.Process(target=read, args=(tmp_path, results, stop)) for _ in range(READERS)]

    run(writers, readers, stop)
    taken = [text for _ in readers for text in results.get(timeout=60)]
    for reader in readers:
        reader.join()

    assert sorted(taken) == expected()


def test_threads_writing_and_reading_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    declare(tmp_path, ["q"])
    results: stdqueue.Queue[list[str]] = stdqueue.Queue()
    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(tmp_path, n)) for n in range(WRITERS)]
    readers = [
        threading.Thread(target=read, args=(tmp_path, results, stop)) for _ in range(READERS)
    ]

    run(writers, readers, stop)
    for reader in readers:
        reader.join()
    taken = [text for _ in readers for text in results.get_nowait()]

    assert sorted(taken) == expected()


def test_bindings_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [[f"q{owner}-{n}" for n in range(BINDINGS)] for owner in range(OWNERS)]
    threads = [threading.Thread(target=declare, args=(tmp_path, own)) for own in names]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with connect(tmp_path) as connection:
        bound = sorted(connection.channel().list_bindings())
    assert bound == sorted((name, "assign", name) for own in names for name in own)
