"""An idle node gives its memory back, a busy one does not."""

from __future__ import annotations

import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers import memory
from workers.memory import Keeper
from workers.protocol import digests
from workers.sessions import Sessions

MODEL = models.make_detector()


@pytest.fixture
def sessions(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(MODEL)
    opened = Sessions()
    opened.open(digests.digest(MODEL), path, builders.SSD)
    yield opened
    opened.close()


def test_a_session_stays_open_for_a_while_after_the_last_work(sessions):
    keeper = Keeper(sessions)

    assert not keeper.look(is_busy=False, is_resting=False)
    assert sessions.is_open(digests.digest(MODEL))


def test_after_that_it_is_closed_once(sessions, monkeypatch):
    monkeypatch.setattr(memory, "KEEP_SECONDS", 0)
    keeper = Keeper(sessions)

    assert not keeper.look(is_busy=True, is_resting=False)
    assert keeper.look(is_busy=False, is_resting=False)
    assert not sessions.is_open(digests.digest(MODEL))
    assert not keeper.look(is_busy=False, is_resting=False)


def test_a_node_that_must_rest_closes_at_once_but_not_under_running_work(sessions):
    keeper = Keeper(sessions)
    sessions.spare.prepare()

    assert not keeper.look(is_busy=True, is_resting=True)
    assert sessions.is_open(digests.digest(MODEL))
    assert not keeper.look(is_busy=False, is_resting=True)
    assert not sessions.is_open(digests.digest(MODEL))
    assert sessions.spare._room is None
