"""The operator's word on disk: strict, explained, and never believed by half."""

from __future__ import annotations

import pytest

from workers import control
from workers.control import BadLimits, PageSettings
from workers.protocol.allowance import Allowance

FULL = Allowance(
    cores=2,
    memory_mib=2048,
    battery=False,
    only_when_idle=True,
    schedule=["mon-fri 18:00-07:00", "sat-sun 00:00-24:00"],
    kinds=["detect"],
    client_categories=["research", "education"],
    exclusive_programs=["steam", "blender"],
)


@pytest.mark.parametrize("allowance", [FULL, Allowance(), control.DEFAULT])
def test_what_is_written_is_read_again(home, allowance):
    control.write_limits(home, allowance)

    assert control.read_limits(home) == allowance
    assert home.limits_file.stat().st_mode & 0o777 == 0o600


def test_the_written_file_explains_every_limit(home):
    control.write_limits(home, Allowance())

    text = home.limits_file.read_text()
    assert all(f"#{name} = " in text for name in Allowance.model_fields)


def test_without_a_file_a_laptop_is_not_drained(home):
    assert control.read_limits(home) == Allowance(battery=False)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("cores = 0", "cores"),
        ("cores = '2'", "cores"),
        ("gpu = 1", "gpu"),
        ("schedule = ['always']", "schedule"),
        ("cores = ", "no TOML"),
        ("cores = 2026-01-01", "cores"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(home, text, word):
    home.make()
    home.limits_file.write_text(text)

    with pytest.raises(BadLimits, match=word):
        control.read_limits(home)


def test_values_as_typed_in_a_shell_are_understood():
    changed = Allowance()
    for text in (
        "cores=2", "battery=false", "schedule=mon 08:00-09:00,sun 10:00-11:00", "kinds=detect",
        "client_categories=research, education",
    ):  # fmt: skip
        changed = control.change(changed, text)

    assert changed == Allowance(
        cores=2,
        battery=False,
        schedule=["mon 08:00-09:00", "sun 10:00-11:00"],
        kinds=["detect"],
        client_categories=["research", "education"],
    )
    assert control.change(changed, "client_categories=none").client_categories == []
    assert control.change(changed, "cores=none").cores is None


@pytest.mark.parametrize("text", ["cores", "gpu=1", "cores=many", "battery=perhaps", "=2"])
def test_a_wrong_assignment_is_refused(text):
    with pytest.raises(BadLimits):
        control.change(Allowance(), text)


def test_the_pages_settings_survive_and_damage_loses_only_them(home):
    settings = PageSettings(revision=3, is_paused=True, wishes=Allowance(cores=1))
    control.write_settings(home, settings)

    assert control.read_settings(home) == settings
    home.settings_file.write_text("{")
    assert control.read_settings(home) == PageSettings()


def test_the_stricter_of_file_and_page_holds():
    settings = PageSettings(revision=1, wishes=Allowance(cores=8, celsius=70))

    allowed = control.effective(FULL, settings)

    assert (allowed.cores, allowed.celsius, allowed.battery) == (2, 70, False)


def test_every_limit_is_described():
    described = dict(control.describe(control.effective(FULL, PageSettings())))

    assert described["cores"] == "2"
    assert described["battery"] == "false"
    assert described["celsius"] == "none"
    assert described["schedule"] == "mon-fri 18:00-07:00, sat-sun 00:00-24:00"
    assert set(described) == set(Allowance.model_fields)
