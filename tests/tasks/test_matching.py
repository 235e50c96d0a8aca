"""Matching alone: every gate refuses by its name, and no rule is ever broken."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import matching

CLIENT = 100


def node(number=1, **fields):
    defaults = {"id": f"n{number}", "owner": number, "free": 2, "jobs": frozenset({"j1", "j2"})}
    return matching.Candidate(**{**defaults, **fields})


def ready(number=1, **fields):
    defaults = {
        "id": number, "job": "j1", "model": "m", "client": CLIENT, "target_error": "1e-2",
        "wanted": 1, "granted": 0,
    }  # fmt: skip
    return matching.Ready(**{**defaults, **fields})


def record(**fields):
    return {"m": matching.Record(**fields)}


def why(chunk, candidate, **fields):
    """Return the gate that keeps the only node from the only chunk."""
    matched = matching.match([chunk], [candidate], limit=10, **fields)
    assert matched.grants == []
    return set(matched.refusals["j1"])


@pytest.mark.parametrize(
    ("chunk", "candidate", "gate"),
    [
        (ready(), node(owner=CLIENT), "own_node"),
        (ready(), node(jobs=frozenset()), "not_asked"),
        (ready(needs_ack=False), node(jobs=frozenset()), "not_asked"),
        (ready(), node(client_categories=frozenset({"research"})), "client_category"),
        (ready(client_category="personal"), node(client_categories=frozenset()), "client_category"),
        (ready(tried=frozenset({1})), node(), "owner_tried"),
        (ready(networks=frozenset({"192.0.2.0/24"})), node(network="192.0.2.0/24"), "same_network"),
        (ready(numeric_class="avx2"), node(numeric_class="avx512"), "numeric_class"),
        (ready(), node(records=record(is_barred=True)), "barred"),
        (ready(), node(records=record(quota_left=0)), "quota"),
        (ready(), node(free=0), "no_slot"),
    ],
)
def test_each_gate_refuses_by_its_name(chunk, candidate, gate):
    assert why(chunk, candidate) == {gate}


def test_owners_kept_apart_are_not_asked_about_one_chunk():
    chunk = ready(tried=frozenset({2}), granted=1, wanted=2)

    assert why(chunk, node(1), apart=frozenset({(1, 2)})) == {"kept_apart"}


def test_fresh_nodes_work_side_by_side_and_one_with_a_record_alone():
    fresh = matching.match([ready()], [node(n) for n in (1, 2, 3)], limit=10)
    known = matching.match([ready()], [node(1, records=record(checks=5.0))], limit=10)

    assert (len(fresh.grants), fresh.wanted) == (2, {1: 2})
    assert (len(known.grants), known.wanted) == (1, {1: 1})


def test_the_model_at_hand_comes_first_and_who_lost_the_chunk_last():
    nodes = [node(1, records=record(has_model=True)), node(2)]
    chunk = ready(granted=1, checks=(0.0,), wanted=2, tried=frozenset({9}))

    (first,) = matching.match([chunk], nodes, limit=1).grants
    (spared,) = matching.match([replace(chunk, lost=frozenset({1}))], nodes, limit=1).grants

    assert (first.node, spared.node) == ("n1", "n2")


def test_who_would_be_done_first_comes_first():
    slow, usual, fast = record(image_ms=2000.0), record(image_ms=200.0), record(image_ms=150.0)
    chunk = ready(granted=1, checks=(0.0,), wanted=2, tried=frozenset({9}))
    nodes = [node(1, records=slow), node(2, records=usual), node(3, records=fast, free=1, held=1)]

    (idle,) = matching.match([chunk], nodes, limit=1).grants
    busy = [node(number, records=usual, free=0) for number in (5, 6)]
    (unknown,) = matching.match([chunk], [nodes[0], node(4), *busy], limit=1).grants
    (last,) = matching.match([chunk], [nodes[0], nodes[2]], limit=1).grants

    assert (idle.node, unknown.node, last.node) == ("n2", "n4", "n3")


@pytest.mark.parametrize(
    ("held", "free", "images", "refused"),
    [(0, 1, 9, False), (0, 2, 9, False), (2, 2, 9, False), (1, 1, 1, False), (1, 1, 2, True)],
)
def test_a_slow_node_is_given_nothing_that_would_wait_too_long(held, free, images, refused):
    one = node(held=held, free=free, records=record(checks=5.0, image_ms=10_000.0))

    matched = matching.match([ready(images=images)], [one], limit=1, wait_ms_max=22_500)

    assert matched.refusals.get("j1", Counter()) == (Counter(slow=1) if refused else Counter())
    assert len(matched.grants) == (not refused)


def test_a_slow_node_with_nothing_to_do_is_given_one_chunk_and_no_second():
    one = node(free=2, records=record(checks=5.0, image_ms=60_000.0))

    matched = matching.match([ready(1), ready(2)], [one], limit=10, wait_ms_max=22_500)

    assert [grant.chunk for grant in matched.grants] == [1]


def test_a_class_is_pinned_by_the_first_node_for_all_others():
    nodes = [node(1, numeric_class="a"), node(2, numeric_class="b"), node(3, numeric_class="a")]

    matched = matching.match([ready(is_class_pinned=True)], nodes, limit=10)

    assert matched.pinned == {1: "a"}
    assert [grant.node for grant in matched.grants] == ["n1", "n3"]


def test_higher_priority_comes_first_and_the_client_with_less_out_before_the_other():
    one = [node(1, free=1, records=record(checks=5.0))]
    urgent = [ready(1), ready(2, job="j2", priority=2)]
    fair = [ready(1), ready(2, job="j2", client=101)]

    (first,) = matching.match(urgent, one, limit=10).grants
    (second,) = matching.match(fair, one, limit=10, held={CLIENT: 3, "j1": 3}).grants

    assert (first.chunk, second.chunk) == (2, 2)


def test_one_job_leaves_slots_to_others_that_wait():
    nodes = [node(n, free=2, records=record(checks=5.0)) for n in range(1, 6)]
    chunks = [ready(n) for n in range(1, 11)] + [
        ready(n, job="j2", client=101) for n in range(11, 21)
    ]

    taken = Counter(
        "j1" if grant.chunk < 11 else "j2"
        for grant in matching.match(chunks, nodes, limit=50, held={"j1": 10}).grants
    )

    assert taken["j2"] > taken["j1"]


candidates = st.lists(
    st.builds(
        node,
        st.integers(1, 12),
        owner=st.integers(1, 6),
        free=st.integers(0, 3),
        network=st.sampled_from(["", "a", "b"]),
        records=st.one_of(
            st.just({}),
            st.builds(
                record,
                checks=st.floats(0, 300),
                quota_left=st.integers(0, 3),
                image_ms=st.one_of(st.none(), st.floats(1, 60_000)),
            ),
        ),
        held=st.integers(0, 3),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)
chunks = st.lists(
    st.builds(
        ready,
        st.integers(1, 20),
        job=st.sampled_from(["j1", "j2"]),
        client=st.sampled_from([3, CLIENT]),
        target_error=st.sampled_from(["1e-2", "1e-3", "1e-4"]),
        tried=st.frozensets(st.integers(1, 6), max_size=2),
        attempts_left=st.integers(0, 8),
    ),
    max_size=10,
    unique_by=lambda each: each.id,
)


@given(chunks, candidates, st.integers(1, 20))
def test_no_rule_is_ever_broken(given_chunks, given_nodes, limit):
    matched = matching.match(given_chunks, given_nodes, limit=limit)

    nodes = {each.id: each for each in given_nodes}
    ready_chunks = {each.id: each for each in given_chunks}
    by_node = Counter(grant.node for grant in matched.grants)
    by_chunk = defaultdict(list)
    for grant in matched.grants:
        by_chunk[grant.chunk].append(nodes[grant.node])
    assert len(matched.grants) <= limit
    assert all(count <= nodes[name].free for name, count in by_node.items())
    for name, count in by_node.items():
        if "m" in nodes[name].records:
            assert count <= nodes[name].records["m"].quota_left
    for chunk_id, given_to in by_chunk.items():
        chunk = ready_chunks[chunk_id]
        owners = [each.owner for each in given_to]
        networks = [each.network for each in given_to if each.network]
        assert len(set(owners)) == len(owners)
        assert chunk.tried.isdisjoint(owners)
        assert chunk.client not in owners
        assert len(set(networks)) == len(networks)
        assert len(given_to) <= min(chunk.attempts_left, matched.wanted[chunk_id])


@given(chunks, candidates)
def test_slowness_alone_keeps_no_idle_node_from_work(given_chunks, given_nodes):
    idle = [replace(each, held=0) for each in given_nodes]

    def busy(wait_ms_max):
        grants = matching.match(given_chunks, idle, limit=20, wait_ms_max=wait_ms_max).grants
        return {grant.chunk for grant in grants}, {grant.node for grant in grants}

    chunks_at_all, nodes_at_all = busy(math.inf)
    chunks_in_time, nodes_in_time = busy(0.0)
    assert bool(chunks_at_all) == bool(chunks_in_time)
    assert bool(nodes_at_all) == bool(nodes_in_time)


@given(chunks, candidates)
def test_the_order_of_what_is_given_decides_nothing(given_chunks, given_nodes):
    there = matching.match(given_chunks, given_nodes, limit=20)
    back = matching.match(given_chunks[::-1], given_nodes[::-1], limit=20)

    assert there == back
