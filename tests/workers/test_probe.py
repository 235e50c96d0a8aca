"""The machine as /proc and /sys tell it, from a tree of our own, and once from the real one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from workers.probe import Probe


@pytest.fixture
def machine(tmp_path) -> Path:
    root = tmp_path / "root"
    files = {
        "proc/stat": "cpu  100 50 20 800 10 0 5 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
        "proc/meminfo": "MemTotal: 8000 kB\nMemAvailable: 2048 kB\n",
        "proc/self/status": "Name: x\nVmRSS:\t 1024 kB\n",
        "proc/net/route": "Iface\tDestination\nwwan0\t00000000\t0\n",
        "proc/77/comm": "steam\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": "Discharging\n",
        "sys/class/power_supply/mouse/type": "Battery\n",
        "sys/class/power_supply/mouse/scope": "Device\n",
        "sys/class/power_supply/mouse/status": "Full\n",
        "sys/class/hwmon/hwmon0/name": "coretemp\n",
        "sys/class/hwmon/hwmon0/temp1_input": "71000\n",
        "sys/class/hwmon/hwmon1/name": "nvme\n",
        "sys/class/hwmon/hwmon1/temp1_input": "99000\n",
        "sys/class/thermal/thermal_zone0/temp": "64000\n",
        "dev/pts/3": "",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(probe: Probe, *, with_programs: bool = False):
    return probe.read(skew_seconds=None, with_programs=with_programs)


def test_everything_the_machine_tells_is_read(machine, tmp_path):
    os.utime(machine / "dev/pts/3", (time.time() - 50, time.time()))

    readings = read(Probe(home=tmp_path, root=machine), with_programs=True)

    assert (readings.is_on_battery, readings.is_metered, readings.celsius) == (True, True, 71.0)
    assert (readings.memory_free_bytes, readings.own_memory_bytes) == (2048 * 1024, 1024 * 1024)
    assert readings.programs == {"steam"}
    assert readings.input_idle_seconds == pytest.approx(50, abs=5)
    assert readings.busy_percent is None


def test_use_of_the_processor_leaves_out_programs_that_give_way(machine, tmp_path):
    probe = Probe(home=tmp_path, root=machine)
    read(probe)
    # 30 user and 10 system of 100 ticks; the 40 of niced programs are nobody's use.
    (machine / "proc/stat").write_text("cpu  130 90 30 820 10 0 5 0 0 0\n")

    assert read(probe).busy_percent == pytest.approx(40, abs=3)


def test_a_machine_that_tells_nothing_gives_no_readings(tmp_path):
    readings = read(Probe(home=tmp_path / "gone", root=tmp_path / "empty"), with_programs=True)

    known = {
        name: value
        for name, value in vars(readings).items()
        if value is not None and name not in {"seconds", "local"}
    }
    assert known == {"programs": frozenset()}


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging"])
def test_a_plugged_in_battery_is_no_battery_operation(machine, tmp_path, status):
    (machine / "sys/class/power_supply/BAT0/status").write_text(status)

    assert read(Probe(home=tmp_path, root=machine)).is_on_battery is False
