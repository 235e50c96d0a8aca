"""A room that dies, hangs or lies is told by its signature, closed, and costs nothing else."""

from __future__ import annotations

import dataclasses
import select
import time

import numpy as np
import pytest

from tests.workers.sandbox import escape
from workers import sandbox

IMPATIENT = dataclasses.replace(escape.LIMITS, run_seconds=0.5)


def fail(folder, name: str, kind: type[sandbox.RoomFailed], *, limits=escape.LIMITS) -> str:
    """Make the room fail and return its signature."""
    with escape.prey(folder), escape.hostile_room(folder, limits=limits) as room:
        with pytest.raises(kind) as caught:
            escape.attack(room, name)
        assert not room.is_alive
    return caught.value.signature


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("status", "lied: reply"),
        ("count", "lied: reply"),
        ("text_beside_tensors", "lied: reply"),
        ("long_text", "lied: reply"),
        ("noise", "lied: reply"),
        ("type_code", "lied: type code"),
        ("other_type", "lied: type of outcome"),
        ("rank", "lied: rank of outcome"),
        ("rank_code", "lied: rank code"),
        ("hidden_dimension", "lied: rank code"),
        ("order", "lied: order"),
        ("too_long", "lied: size of outcome"),
        ("giant", "lied: size of outcome"),
    ],
)
def test_an_answer_that_was_not_declared_is_a_lie(tmp_path, name, signature):
    assert fail(tmp_path, name, sandbox.RoomLied) == signature


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("exit", "died: exit 7"),
        ("abort", "died: SIGABRT"),
        ("crash", "died: SIGSEGV"),
        ("short", "died: exit 0"),
        ("close_pipe", "died: closed its pipe"),
    ],
)
def test_a_room_that_ends_is_told_by_how_it_ended(tmp_path, name, signature):
    assert fail(tmp_path, name, sandbox.RoomDied) == signature


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hang_asleep", "hang_awake", "drip"])
def test_a_room_that_does_not_answer_in_time_is_ended(tmp_path, name):
    begun = time.monotonic()

    assert fail(tmp_path, name, sandbox.RoomHung, limits=IMPATIENT) == "hung: run"
    assert time.monotonic() - begun < IMPATIENT.run_seconds * 10 + 20


@pytest.mark.slow
def test_a_room_that_uses_up_its_processor_time_is_ended_by_the_kernel(tmp_path):
    limits = dataclasses.replace(escape.LIMITS, cpu_seconds=2)

    signature = fail(tmp_path, "hang_awake", sandbox.RoomDied, limits=limits)

    assert signature in {"died: SIGXCPU", "died: SIGKILL"}


@pytest.mark.slow
def test_bytes_that_nobody_asked_for_are_a_lie(tmp_path):
    with escape.prey(tmp_path), escape.hostile_room(tmp_path) as room:
        assert escape.attack(room, "unasked") == "\0\0\0"
        assert select.select([room._child._source], [], [], 30)[0]

        with pytest.raises(sandbox.RoomLied, match="lied: bytes without a question"):
            escape.attack(room, "unasked")

        assert not room.is_alive


@pytest.mark.slow
def test_an_input_that_was_not_declared_does_not_reach_the_room(tmp_path):
    with escape.prey(tmp_path), escape.hostile_room(tmp_path) as room:
        with pytest.raises(sandbox.Unusable, match="size of attack"):
            room.run({"attack": np.zeros(10_001, dtype=np.uint8)})

        assert escape.attack(room, "pair_sockets") == "stopped: EPERM"
