"""A referee that takes minutes holds up nothing but what waits for its word."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest

from bench import processes
from portal.demo import stack
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

#: On a picture of one colour the real model finds nothing, so this is what the referee says.
NOTHING = ()


def test_sweeps_go_on_while_the_referee_computes(platform, submit, finish):
    liar, dead, *honest = [platform.puppet(number) for number in range(1, 6)]
    with _stopped_referee(platform):
        disputed = submit()
        _dispute(disputed, liar, honest)

        other = submit()
        dead.ack(other)
        lost = dead.next(messages.Assignment)
        for puppet in honest[:2]:
            puppet.work(other, found=NOTHING)
        outcome = finish(other, seconds=30)

        assert outcome.job["state"] == "finished"
        # A sweep saw that the lease had run out, and gave the chunk to another.
        assert _states(platform, other) == ["lost", "accepted", "accepted"]
        assert int(lost.assignment) == _replicas(platform, other)[0]["id"]
        assert _states(platform, disputed) == ["reported", "accepted", "accepted", "accepted"]

    stack.wait_until(
        lambda: _states(platform, disputed)[0] == "rejected", seconds=60, what="the referee"
    )
    platform.assert_sound()


def _dispute(job_id: str, liar, honest) -> None:
    """Let one tell of something where three see nothing: the referee is asked."""
    liar.work(job_id)
    for puppet in honest:
        puppet.work(job_id, found=NOTHING)


@contextmanager
def _stopped_referee(platform):
    """Stop the clock of the referee's worker and of all it started: it could not be slower."""
    pids = processes.tree(platform.stack.processes["referee"].popen.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _replicas(platform, job_id: str):
    return platform.python(
        "from tasks.models import Replica\n"
        f"rows = Replica.objects.filter(job_id={job_id!r}).order_by('pk')\n"
        "print(json.dumps(list(rows.values('id', 'state'))))"
    )


def _states(platform, job_id: str) -> list[str]:
    return [row["state"] for row in _replicas(platform, job_id)]
