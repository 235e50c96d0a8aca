"""The empty room in reserve: taken once, replaced when it died, given back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers.protocol import digests
from workers.sandbox import RoomLimits
from workers.sessions import Sessions
from workers.spare import Spare

LIMITS = RoomLimits(priority="normal")
MODEL = models.make_detector()


@pytest.fixture
def spare() -> Iterator[Spare]:
    made = Spare(LIMITS)
    yield made
    made.drop()


def pid_of(spare: Spare) -> int:
    assert spare._room is not None
    return spare._room.pid


def test_the_room_in_reserve_is_given_to_the_first_who_asks(spare):
    spare.prepare()
    pid = pid_of(spare)

    with contextlib.closing(spare.take()) as first, contextlib.closing(spare.take()) as second:
        assert first.pid == pid
        assert second.pid != pid
        assert second.is_alive


def test_only_one_is_kept(spare):
    spare.prepare()
    pid = pid_of(spare)

    spare.prepare()

    assert pid_of(spare) == pid


def test_one_that_died_meanwhile_is_replaced(spare):
    spare.prepare()
    pid = pid_of(spare)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    with contextlib.closing(spare.take()) as room:
        assert room.pid != pid
        assert room.is_alive


def test_dropping_ends_its_process(spare):
    spare.prepare()
    room = spare._room

    spare.drop()

    assert room is not None
    assert not room.is_alive
    assert spare._room is None


def test_a_model_is_opened_in_the_room_in_reserve(tmp_path):
    path = tmp_path / digests.digest(MODEL)
    path.write_bytes(MODEL)
    with contextlib.closing(Sessions(room_limits=LIMITS)) as sessions:
        sessions.spare.prepare()
        pid = pid_of(sessions.spare)

        opened = sessions.open(path.name, path, builders.SSD)

        assert {room.pid for room in opened.rooms._all} == {pid}
        assert sessions.spare._room is None
