"""File, page, pause and machine, and what the node is told of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.workers.probes import NOON, FakeProbe
from workers import config, control, events, steering
from workers.protocol import messages
from workers.protocol.allowance import Allowance
from workers.steering import Steering

NOW = NOON


@pytest.fixture
def probe(monkeypatch) -> FakeProbe:
    monkeypatch.setattr(steering, "PROBE_SECONDS", 0.0)
    return FakeProbe()


@pytest.fixture
def obeyed() -> list:
    return []


@pytest.fixture
def made(home, probe, obeyed) -> Steering:
    home.make()
    return Steering(home=home, slots_max=4, probe=probe, obey=obeyed.append)


def look(made: Steering, *, now: datetime = NOW) -> list[events.Event]:
    return made.look(now=now, images_per_second=0.0)


def reasons_of(found: list[events.Event]) -> list[str]:
    return [each.reason for each in found if isinstance(each, events.PermissionChanged)]


def test_the_first_look_tells_the_allowance_and_later_ones_nothing(made, obeyed):
    (told,) = look(made)

    assert (told.slots, told.kinds, told.settings_revision) == (4, None, 0)
    assert told.profile.allowance == control.DEFAULT
    assert look(made) == []
    assert len(obeyed) == 1


def test_a_changed_file_is_obeyed_and_a_damaged_one_changes_nothing(home, made, obeyed):
    look(made)
    control.write_limits(home, Allowance(cores=2, cache_mib=100))

    (told,) = look(made)
    assert told.slots == 2
    assert obeyed[-1].cache_mib == 100
    home.limits_file.write_text("cores = 'all of them'")
    assert look(made) == []
    assert "cores" in made.trouble


def test_a_file_damaged_from_the_start_closes_the_node_until_it_is_mended(home, made):
    home.limits_file.write_text("cores = ")

    assert reasons_of(look(made)) == ["bad_limits"]
    control.write_limits(home, Allowance())
    assert reasons_of(look(made)) == [""]


def test_the_page_makes_it_stricter_and_survives_a_restart(home, made, probe, obeyed):
    control.write_limits(home, Allowance(cores=2))
    made.keep(_settings(5, wishes=Allowance(cores=1, battery=False), is_paused=True))

    again = Steering(home=home, slots_max=4, probe=probe, obey=obeyed.append)

    for each in (made, again):
        told, permission = look(each)
        assert (told.slots, told.settings_revision) == (1, 5)
        assert permission.reason == "paused_on_page"


def test_the_page_cannot_exceed_the_file(home, made):
    control.write_limits(home, Allowance(cores=1))
    made.keep(_settings(1, wishes=Allowance(cores=4)))

    assert look(made)[0].slots == 1


def test_settings_that_cannot_be_stored_are_obeyed_all_the_same(made, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    made.keep(_settings(1, is_paused=True))

    assert reasons_of(look(made)) == ["paused_on_page"]


def test_a_pause_on_the_machine_comes_before_all_and_ends_by_itself(home, made, probe):
    probe.found = {"is_on_battery": True}
    assert reasons_of(look(made)) == ["battery"]
    config.pause(home, until=NOW + timedelta(hours=1))
    made.keep(_settings(1, is_paused=True))

    assert reasons_of(look(made)) == ["paused_locally"]
    assert reasons_of(look(made, now=NOW + timedelta(hours=1))) == ["paused_on_page"]


def test_a_wrong_clock_is_told(made):
    made.skew_seconds = 900.0

    assert reasons_of(look(made)) == ["clock_skew"]


def _settings(
    revision: int, *, wishes: Allowance | None = None, is_paused: bool = False
) -> messages.NodeSettings:
    return messages.NodeSettings(
        sent_at=NOW,
        node="n",
        revision=revision,
        is_paused=is_paused,
        wishes=wishes or Allowance(),
    )
