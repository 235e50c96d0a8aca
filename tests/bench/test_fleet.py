"""The simulated fleet: the same seed tells the same story, and the policy keeps its word."""

from __future__ import annotations

import pytest

from bench import fleet
from bench.simulation import cheats


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(fleet, "MACHINES", 40)
    monkeypatch.setattr(fleet, "CHUNK_SECONDS", 3600.0)


def test_the_same_seed_gives_the_same_figures():
    first, second = (
        fleet.work(fleet.POLICIES["standard 1e-3"](7), cheat=cheats.RANDOM, share=0.1, seed=7)
        for _ in range(2)
    )

    assert first == second
    assert first.final > 1000


def test_without_cheats_nothing_wrong_is_delivered_and_a_quorum_costs_double():
    ours = fleet.work(fleet.POLICIES["standard 1e-3"](1), cheat=None, share=0.0, seed=1)
    quorum = fleet.work(fleet.POLICIES["quorum of 2"](1), cheat=None, share=0.0, seed=1)

    assert (ours.error, quorum.error) == (0.0, 0.0)
    assert quorum.extra == pytest.approx(1.0, abs=0.05)
    assert ours.extra < 0.5 * quorum.extra


def test_machines_that_always_lie_are_all_caught():
    found = fleet.work(fleet.POLICIES["standard 1e-3"](3), cheat=cheats.RANDOM, share=0.2, seed=3)

    assert (found.error, found.caught) == (0.0, 1.0)


def test_a_job_of_a_small_fleet_ends_near_the_ideal():
    assert 1.0 <= fleet.makespan(machines=200, seed=1) < 2.5
