"""Rooms of one model: shared, replaced, and given up after three equal failures."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.workers import models
from workers import rooms, sandbox
from workers.protocol import digests
from workers.rooms import Rooms, Strikes
from workers.sandbox import RoomLimits

PIXELS = np.full((1, 20, 30, 3), 51, dtype=np.uint8)
FEEDS = {"image": PIXELS, "score_threshold": np.zeros(1, dtype=np.float32)}
LIMITS = RoomLimits(priority="normal")
HASTY = RoomLimits(run_seconds=0.2, priority="normal")


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Rooms]]:
    """Return a function that makes the rooms of a model."""
    with contextlib.ExitStack() as stack:

        def make_rooms(content: bytes, **options) -> Rooms:
            path = tmp_path / digests.digest(content)
            path.write_bytes(content)
            made = Rooms(digest=path.name, path=path, declared=models.DECLARED, **options)
            return stack.enter_context(contextlib.closing(made))

        yield make_rooms


def pids(made: Rooms) -> set[int]:
    return {room.pid for room in made._all}


def test_one_thread_needs_one_room(make):
    made = make(models.make_detector(), room_limits=LIMITS)
    made.open()

    answers = [made.run(FEEDS)["classes"].tolist() for _ in range(3)]

    assert answers == [models.CLASSES] * 3
    assert len(pids(made)) == 1


def test_threads_at_once_have_rooms_of_their_own_and_equal_answers(make):
    made = make(models.make_detector(), room_limits=LIMITS)
    made.open()
    barrier = threading.Barrier(2)

    def run():
        room = made._take()
        barrier.wait(30)
        made._give_back(room)
        return made.run(FEEDS)["scores"].tolist()

    with ThreadPoolExecutor(2) as pool:
        first, second = [each.result() for each in [pool.submit(run), pool.submit(run)]]

    assert first == second
    assert len(pids(made)) == 2


def test_a_room_killed_between_two_pictures_is_replaced_unnoticed(make):
    made = make(models.make_detector(), room_limits=LIMITS)
    made.open()
    (pid,) = pids(made)

    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert made.run(FEEDS)["classes"].tolist() == models.CLASSES
    assert pids(made).isdisjoint({pid})


def test_the_third_equal_failure_makes_the_model_unusable_and_starts_nothing_more(make):
    strikes = Strikes()
    made = make(models.make_endless(), room_limits=HASTY, strikes=strikes)

    for _ in range(rooms.STRIKES_MAX - 1):
        with pytest.raises(sandbox.RoomHung):
            made.run(FEEDS)
    with pytest.raises(sandbox.Unusable, match="hung: run"):
        made.run(FEEDS)

    again = make(models.make_endless(), room_limits=HASTY, strikes=strikes)
    with pytest.raises(sandbox.Unusable, match="hung: run"):
        again.open()
    assert pids(made) | pids(again) == set()
    other = make(models.make_detector(), room_limits=LIMITS, strikes=strikes)
    assert other.run(FEEDS)["classes"].tolist() == models.CLASSES


def test_failures_of_different_kinds_are_counted_apart():
    strikes = Strikes()
    for signature in ("died: SIGSEGV", "hung: run") * (rooms.STRIKES_MAX - 1):
        strikes.add("d", signature)
    strikes.check("d")

    strikes.add("d", "hung: run")

    with pytest.raises(sandbox.Unusable, match="hung: run"):
        strikes.check("d")
    strikes.check("e")


def test_closing_ends_what_runs_at_once_and_blames_nobody(make):
    strikes = Strikes()
    made = make(models.make_endless(), room_limits=LIMITS, strikes=strikes)
    made.open()
    (pid,) = pids(made)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(made.run, FEEDS)
        _await_use(made)
        made.close()

        with pytest.raises((sandbox.RoomDied, sandbox.RoomUnavailable)):
            running.result(20)

    assert strikes._counts == {}
    assert not Path(f"/proc/{pid}").exists()


def test_retired_rooms_let_what_runs_finish_and_keep_nothing(make):
    made = make(models.make_detector(), room_limits=LIMITS)
    made.open()
    used = made._take()

    made.retire()

    assert used.run(FEEDS)["classes"].tolist() == models.CLASSES
    made._give_back(used)
    assert not used.is_alive
    assert made.run(FEEDS)["classes"].tolist() == models.CLASSES
    assert pids(made) == set()


def test_closed_rooms_open_no_more(make):
    made = make(models.make_detector(), room_limits=LIMITS)
    made.open()

    made.close()

    with pytest.raises(sandbox.RoomUnavailable):
        made.run(FEEDS)
    assert pids(made) == set()


def _await_use(made: Rooms) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if not made._free:
            return
        pause.wait(0.01)
    raise AssertionError("the room was not taken")
