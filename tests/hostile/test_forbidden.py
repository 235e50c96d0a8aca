"""What a node run by an attacker may not do, tried against the real broker and portal.

Each attempt is stopped by what the table says, and leaves every table, queue and process
as it was. docs/threat-model.md lists what AMQP cannot forbid.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.hostile import broker_cases, ingest_cases, portal_cases
from tests.hostile import scene as scenes

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.postgres]

CASES = [*broker_cases.CASES, *ingest_cases.CASES, *portal_cases.CASES]


@pytest.fixture(scope="module")
def still(scene):
    """The scene with its clock stopped: nothing begins by itself, so what changes was changed."""
    beat = scene.platform.stack.processes["beat"].popen.pid
    os.kill(beat, signal.SIGSTOP)
    try:
        scenes.wait_still(scene)
        yield scene
    finally:
        os.kill(beat, signal.SIGCONT)


@pytest.mark.parametrize("case", CASES, ids=[case.attempt for case in CASES])
def test_a_hostile_node_cannot(still, note_stopped, case):
    before = still.snapshot()

    stopped_by = case.act(still)

    assert stopped_by == case.stopped_by
    after = still.snapshot()
    assert {name: after[name] for name in after if after[name] != before.get(name)} == {}
    note_stopped(case.rule, case.attempt, stopped_by)


def test_no_two_attempts_are_the_same():
    assert len({case.attempt for case in CASES}) == len(CASES) >= 40
