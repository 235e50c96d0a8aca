"""A node's share: so much at once, so much for long."""

from __future__ import annotations

from tasks import floods


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def counted(meter: floods.Meter, node_id: str, *, messages: int, size_bytes: int = 100) -> int:
    return sum(meter.admits(node_id, size_bytes=size_bytes) for _ in range(messages))


def test_a_burst_is_admitted_and_then_nothing_until_half_of_it_is_back():
    clock = Clock()
    meter = floods.Meter(rate=10, burst=50, clock=clock)

    assert counted(meter, "a", messages=60) == 50
    clock.seconds = 2.0
    assert counted(meter, "a", messages=60) == 0
    clock.seconds = 3.0
    assert counted(meter, "a", messages=60) == 30


def test_the_rate_is_admitted_for_ever():
    clock = Clock()
    meter = floods.Meter(rate=10, burst=50, clock=clock)

    for second in range(100):
        clock.seconds = float(second)
        assert counted(meter, "a", messages=10) == 10


def test_a_share_never_grows_beyond_the_burst():
    clock = Clock()
    meter = floods.Meter(rate=10, burst=50, clock=clock)
    meter.admits("a", size_bytes=0)

    clock.seconds = 1e6

    assert counted(meter, "a", messages=60) == 50


def test_one_nodes_flood_takes_nothing_from_another():
    meter = floods.Meter(rate=10, burst=50, clock=Clock())

    counted(meter, "a", messages=1000)

    assert counted(meter, "b", messages=60) == 50


def test_large_messages_count_for_more():
    meter = floods.Meter(rate=10, burst=90, clock=Clock())

    assert counted(meter, "a", messages=60, size_bytes=128 * 1024) == 10


def test_nodes_with_a_full_share_are_forgotten():
    clock = Clock()
    meter = floods.Meter(rate=10, burst=50, clock=clock)
    for number in range(floods.NODES_MAX):
        meter.admits(str(number), size_bytes=0)
    clock.seconds = 60.0
    counted(meter, "busy", messages=50)

    meter.admits("new", size_bytes=0)

    assert len(meter._shares) == 2
    assert not meter.admits("busy", size_bytes=0)


def test_a_node_over_its_share_is_named_once_a_second():
    clock = Clock()
    meter = floods.Meter(rate=10, burst=50, clock=clock)

    assert meter.newly_over(["b", "a"]) == ["a", "b"]
    assert meter.newly_over(["a", "c"]) == ["c"]
    clock.seconds = 1.5
    assert meter.newly_over(["a"]) == ["a"]
