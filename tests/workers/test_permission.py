"""When the node must rest, with readings of our own: no flapping, the right reason first."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.permission import CAUSES, Permission, Readings
from workers.protocol import limits
from workers.protocol.allowance import Allowance, combine

MIB = limits.MIB
#: A Wednesday, noon.
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STRICT = Allowance(
    memory_free_mib=1000,
    metered=False,
    battery=False,
    only_when_idle=True,
    celsius=80,
    schedule=["mon-fri 08:00-18:00"],
    exclusive_programs=["steam"],
)


def judge_all(
    permission: Permission, allowance: Allowance, *steps: tuple[float, dict]
) -> list[str]:
    """Return the verdict at each (seconds, readings)."""
    allowed = combine(allowance)
    return [
        permission.judge(Readings(**({"seconds": at, "local": NOON} | found)), allowed)
        for at, found in steps
    ]


@pytest.mark.parametrize(
    ("reason", "bad", "good", "stop_after", "start_after"),
    [
        ("battery", {"is_on_battery": True}, {"is_on_battery": False}, 0, 30),
        ("metered", {"is_metered": True}, {"is_metered": False}, 0, 30),
        ("too_hot", {"celsius": 81}, {"celsius": 75}, 5, 60),
        ("exclusive_program", {"programs": frozenset({"steam"})}, {}, 0, 30),
        ("user_active", {"busy_percent": 26}, {"busy_percent": 15}, 10, 60),
        ("user_active", {"input_idle_seconds": 5}, {"input_idle_seconds": 180}, 10, 60),
        (
            "memory_low",
            {"memory_free_bytes": 999 * MIB},
            {"memory_free_bytes": 1200 * MIB},
            5,
            30,
        ),
        ("disk_full", {"disk_free_bytes": 99 * MIB}, {"disk_free_bytes": 200 * MIB}, 0, 30),
        ("schedule", {"local": NOON.replace(hour=20)}, {}, 0, 0),
        ("clock_skew", {"skew_seconds": -301.0}, {"skew_seconds": 0.0}, 0, 0),
    ],
)
def test_each_cause_stops_and_lets_go_after_its_time(reason, bad, good, stop_after, start_after):
    just, permission = 0.5, Permission()
    stops, starts = [(0.0, bad)], [(100.0, good)]
    if stop_after:
        stops += [(stop_after - just, bad), (float(stop_after), bad)]
    if start_after:
        starts += [(100 + start_after - just, good), (100.0 + start_after, good)]

    verdicts = judge_all(permission, STRICT, *stops, *starts)

    expected = [*([""] * (len(stops) - 1)), reason, *([reason] * (len(starts) - 1)), ""]
    assert verdicts == expected


@pytest.mark.parametrize(
    ("bad", "between"),
    [
        ({"celsius": 81}, {"celsius": 78}),
        ({"busy_percent": 26}, {"busy_percent": 20}),
        ({"memory_free_bytes": 999 * MIB}, {"memory_free_bytes": 1100 * MIB}),
        ({"disk_free_bytes": 99 * MIB}, {"disk_free_bytes": 150 * MIB}),
    ],
)
def test_a_value_between_the_two_limits_changes_nothing(bad, between):
    stopped = judge_all(Permission(), STRICT, (0, bad), (20, bad), (200, between), (400, between))
    working = judge_all(Permission(), STRICT, (0, between), (200, between))

    assert stopped[1:] == [stopped[1]] * 3
    assert stopped[1] != ""
    assert working == ["", ""]


def test_what_the_machine_cannot_tell_never_stops_work():
    assert judge_all(Permission(), STRICT, (0, {}), (100, {})) == ["", ""]


def test_without_limits_only_the_disk_and_the_clock_stop_work():
    awful = {
        "busy_percent": 100, "is_on_battery": True, "celsius": 120, "is_metered": True,
        "memory_free_bytes": 1, "local": NOON.replace(hour=3), "programs": frozenset({"steam"}),
    }  # fmt: skip

    assert judge_all(Permission(), Allowance(), (0, awful), (100, awful)) == ["", ""]
    full = {"disk_free_bytes": 1}
    assert judge_all(Permission(), Allowance(), (0, full)) == ["disk_full"]


def test_of_several_causes_the_first_is_told():
    both = {"is_on_battery": True, "local": NOON.replace(hour=20)}

    assert judge_all(Permission(), STRICT, (0, both)) == ["schedule"]


@settings(max_examples=200, deadline=None)
@given(
    loads=st.lists(
        st.tuples(st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.floats(0, 100)), max_size=200
    )
)
def test_no_load_however_wild_makes_the_node_flap(loads):
    """It rests for at least a minute and was disturbed for at least ten seconds before."""
    permission, seconds, was, changes = Permission(), 0.0, "", []
    for pause, percent in loads:
        seconds += pause
        (verdict,) = judge_all(permission, STRICT, (seconds, {"busy_percent": percent}))
        if verdict != was:
            changes.append((verdict, seconds))
        was = verdict

    times = {cause.reason: cause for cause in CAUSES}["user_active"]
    for (first, began), (_, ended) in pairwise(changes):
        least = times.start_after if first else times.stop_after
        assert ended - began >= least
    if changes:
        assert changes[0][1] >= times.stop_after
