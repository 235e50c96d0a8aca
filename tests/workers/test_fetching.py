"""Inputs are fetched ahead, once, and those of work that never begins are let go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.workers.platform_double import Served, make_assignment, make_input, make_reference
from workers import fetching, transfer
from workers.fetching import Inputs

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
PICTURES = [f"picture {number}".encode() for number in range(6)]


@pytest.fixture
def inputs():
    with transfer.make_client() as client, ThreadPoolExecutor(1) as downloads:
        yield Inputs(client=client, downloads=downloads)


def assignment(server, name: str = "1"):
    sent = [
        make_input(data, server.serve(f"/{name}/{place}", Served(data)), position=place)
        for place, data in enumerate(PICTURES)
    ]
    model = make_reference(b"model", "http://files.example/m")
    return make_assignment(model=model, inputs=sent, now=NOW, assignment=name)


def settle(inputs: Inputs) -> None:
    """Wait until the one download thread has nothing to do."""
    inputs.downloads.submit(threading.Event).result()


def asked(server, name: str) -> list[str]:
    return [path for path in server.requested if path.startswith(f"/{name}/")]


def test_all_inputs_come_in_order(server, inputs):
    found = list(inputs.fetch(assignment(server)))

    assert [each.position for each, _ in found] == [0, 1, 2, 3, 4, 5]
    assert [data for _, data in found] == PICTURES


def test_no_more_are_fetched_than_the_next_few(server, inputs):
    following = inputs.fetch(assignment(server))

    next(following)
    settle(inputs)

    assert asked(server, "1") == [f"/1/{place}" for place in range(fetching.AHEAD_MAX + 1)]
    following.close()


def test_what_was_expected_is_fetched_once(server, inputs):
    waiting = assignment(server)

    inputs.expect(waiting)
    settle(inputs)
    assert asked(server, "1") == ["/1/0", "/1/1", "/1/2"]

    assert [data for _, data in inputs.fetch(waiting)] == PICTURES
    assert asked(server, "1") == [f"/1/{place}" for place in range(6)]


def test_only_the_newest_expectation_is_kept(server, inputs):
    first, second = assignment(server, "1"), assignment(server, "2")
    inputs.expect(first)
    inputs.expect(second)
    settle(inputs)

    assert [data for _, data in inputs.fetch(first)] == PICTURES
    assert [data for _, data in inputs.fetch(second)] == PICTURES
    assert asked(server, "2") == [f"/2/{place}" for place in range(6)]
