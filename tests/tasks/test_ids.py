"""Identifiers: sortable by time, impossible to guess, fit for queue names."""

from __future__ import annotations

import re

import pytest

from tasks import ids, queues


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (ids.new_job, "job"),
        (ids.new_dataset, "ds"),
        (ids.new_image, "img"),
        (ids.new_model, "mdl"),
        (ids.new_node, "node"),
        (ids.new_key, "key"),
    ],
)
def test_an_id_is_its_prefix_and_26_characters_of_crockfords_alphabet(make, prefix):
    assert re.fullmatch(rf"{prefix}_[{ids.ALPHABET}]{{26}}", make())
    assert len(make()) <= 40


def test_a_thousand_ids_of_one_moment_differ():
    assert len({ids.new("x") for _ in range(1000)}) == 1000


def test_ids_sort_by_the_time_they_were_made(monkeypatch):
    moments = [0, 10**15, 1_795_000_000 * 10**9, 1_795_000_001 * 10**9, 2**80]
    made = []
    for moment in moments:
        monkeypatch.setattr(ids.time, "time_ns", lambda moment=moment: moment)
        made.append(ids.new("x"))

    assert made == sorted(made)
    assert {len(text) for text in made} == {28}


def test_the_time_can_be_read_back(monkeypatch):
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_795_000_000_123 * 10**6)

    digits = ids.new("x").removeprefix("x_")[:10]

    number = 0
    for digit in digits:
        number = number * 32 + ids.ALPHABET.index(digit)
    assert number == 1_795_000_000_123


def test_a_nodes_id_may_name_its_queue():
    node_id = ids.new_node()

    assert queues.node_queue(node_id).name == f"node.{node_id}"
