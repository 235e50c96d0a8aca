"""state.json and what it means."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from workers import status
from workers.status import State

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def make_state(**changes) -> State:
    fields = {
        "node_id": "n_1",
        "name": "desk",
        "software_version": "1",
        "numeric_class": "c",
        "pid": os.getpid(),
        "process_started": status.process_started(os.getpid()),
        "state": "running",
        "reason": "",
        "slots": 1,
        "assignments": [],
        "cached_models": [],
        "done": 1,
        "failed": 0,
        "handed_back": 0,
        "withdrawn": 0,
        "refused": {"stale": 2},
        "unconfirmed_reports": 0,
        "contact_at": NOW,
        "trouble": "",
        "written_at": NOW,
    }
    return State(**(fields | changes))


def test_what_is_written_is_read_again(home):
    status.write(home, make_state())

    assert status.read(home) == make_state()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]"])
def test_what_cannot_be_read_is_none(home, content):
    if content is not None:
        home.state_file.write_bytes(content)

    assert status.read(home) is None


def test_this_process_is_alive():
    assert status.is_alive(make_state())


def test_a_process_that_ended_is_not_alive():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert not status.is_alive(make_state(pid=ended.pid))


def test_another_process_with_the_same_pid_is_not_taken_for_it():
    assert not status.is_alive(make_state(process_started=1))


@pytest.mark.parametrize("changes", [{}, {"reason": "paused_locally"}, {"assignments": ["1"]}])
def test_a_node_at_work_or_paused_is_healthy(changes):
    condition = status.judge(make_state(**changes), is_alive=True, now=NOW)

    assert (condition.is_healthy, condition.issues) == (True, [])


@pytest.mark.parametrize(
    ("state", "is_alive", "issue"),
    [
        (None, False, "has not run yet"),
        (make_state(state="stopped"), False, "is stopped"),
        (make_state(), False, "ended unexpectedly"),
        (make_state(contact_at=None), True, "not been reached yet"),
        (make_state(contact_at=NOW - timedelta(minutes=6)), True, "No contact since"),
        (make_state(written_at=NOW - timedelta(minutes=2)), True, "hangs"),
        (make_state(reason="offline"), True, "retired or suspended"),
        (make_state(trouble="AccessRefused"), True, "AccessRefused"),
    ],
)
def test_what_is_wrong_is_one_sentence(state, is_alive, issue):
    condition = status.judge(state, is_alive=is_alive, now=NOW)

    assert not condition.is_healthy
    assert len(condition.issues) == 1
    assert issue in condition.issues[0]
