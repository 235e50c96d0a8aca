"""Attacks from inside a room: each is stopped, and by more than one lock where it can be."""

from __future__ import annotations

import json

import pytest

from tests.workers.sandbox import escape
from tests.workers.sandbox.escape import ATTEMPTS, Attempt
from workers import sandbox
from workers.room import child, locks

ROOMS = {
    "all locks": (),
    "without seccomp": (locks.SECCOMP,),
    "without Landlock": (locks.LANDLOCK,),
    "without either": (locks.SECCOMP, locks.LANDLOCK),
}
EITHER = {locks.SECCOMP, locks.LANDLOCK}


@pytest.fixture(scope="module", params=ROOMS)
def cell(request, tmp_path_factory):
    """A room with attacks in it and what there is to get at."""
    folder = tmp_path_factory.mktemp("prey")
    with (
        escape.prey(folder) as prey,
        escape.hostile_room(folder, without=ROOMS[request.param]) as room,
    ):
        yield room, prey


@pytest.mark.slow
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.title)
def test_an_attempt_to_get_out_is_stopped_and_nothing_is_touched(cell, attempt: Attempt):
    room, prey = cell
    if not attempt.locks & room.held:
        assert not room.held >= EITHER, "nothing stops this even with all locks"
        pytest.skip("the lock that stops it was left open for this room")

    said = escape.attack(room, attempt.name, *prey.fill_in(attempt.arguments))

    assert said.startswith("stopped: "), said
    assert room.is_alive
    assert prey.is_untouched()


@pytest.mark.slow
@pytest.mark.skipif(not sandbox.can_lock(), reason="this kernel lacks a lock")
def test_all_locks_hold_here_but_the_one_that_is_not_needed(tmp_path):
    with escape.prey(tmp_path), escape.hostile_room(tmp_path) as room:
        held = set(room.held)

    assert held == set(locks.NAMES) - {locks.NETWORK, locks.PRIORITY}


@pytest.mark.slow
def test_a_room_starts_with_nothing_of_its_keeper(tmp_path, monkeypatch):
    monkeypatch.setenv("NODEFOLK_SECRET", "s3cret")
    with escape.prey(tmp_path), escape.hostile_room(tmp_path) as room:
        found = json.loads(escape.attack(room, "tell_what_was_found").removeprefix("escaped: "))

    assert found == {
        "environment": child.ENVIRONMENT,
        "files": ["/dev/null", "/memfd", "pipe", "pipe"],
        "folder": "/",
        "is_session_leader": True,
        "user_site": 1,
    }
