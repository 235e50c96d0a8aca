"""Cutting a job's images into chunks."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import chunking
from workers.protocol import limits


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_chunk_holds_at_least_one_image_and_at_most_the_limit(images, nodes, image_ms):
    size = chunking.chunk_size(images=images, nodes=nodes, image_ms=image_ms)

    assert 1 <= size <= limits.CHUNK_ITEMS_MAX
    assert size <= images
    assert size == 1 or size * image_ms <= chunking.CHUNK_MS_MAX


@pytest.mark.parametrize(
    ("images", "nodes", "image_ms", "expected"),
    [(4, 7, 100, 1), (56, 7, 100, 2), (10_000, 7, 100, 15), (10_000, 0, 3000, 3)],
    ids=["few images", "spread", "many images", "slow model and nobody there"],
)
def test_chunks_grow_with_the_images_for_each_node(images, nodes, image_ms, expected):
    assert chunking.chunk_size(images=images, nodes=nodes, image_ms=image_ms) == expected


@given(
    st.lists(st.text(), max_size=100),
    st.integers(1, 16),
    st.integers(0, 20),
    st.randoms(use_true_random=False),
)
def test_cutting_keeps_each_image_once_and_in_order(ids, size, nodes, randomness):
    runs = chunking.cut(ids, size=size, nodes=nodes, randomness=randomness)

    assert [image for run in runs for image in run] == ids
    assert all(1 <= len(run) <= size for run in runs)


@pytest.mark.parametrize("size", [1, 2, 15])
@pytest.mark.parametrize("nodes", [1, 7, 50])
def test_the_expected_count_is_what_cutting_gives_on_average(size, nodes):
    randomness = random.Random(5)
    counts = [
        len(chunking.cut(["image"] * 1500, size=size, nodes=nodes, randomness=randomness))
        for _ in range(50)
    ]

    expected = chunking.expected_count(images=1500, size=size, nodes=nodes)
    assert sum(counts) / len(counts) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("size", "alone_max"), [(15, 0.01), (chunking.LAST_SIZE_MIN, 0.05)])
def test_how_many_pictures_are_shown_hardly_tells_whether_gold_is_among_them(size, alone_max):
    chance = 0.25
    runs = chunking.cut(["image"] * 200_000, size=size, nodes=1, randomness=random.Random(5))
    own = Counter(len(run) for run in runs[:-10])

    for shown in range(3, size + 1):
        with_gold, without = chance * own[shown - 1], (1 - chance) * own[shown]
        assert with_gold / (with_gold + without) == pytest.approx(chance, abs=0.12)
    assert own[1] / own.total() < alone_max


def test_the_last_chunks_are_smaller_and_not_too_small():
    nodes, size = 50, 15
    first, last = Counter(), Counter()
    for seed in range(20):
        runs = chunking.cut(
            ["image"] * 5000, size=size, nodes=nodes, randomness=random.Random(seed)
        )
        first.update(len(run) for run in runs[:50])
        last.update(len(run) for run in runs[-50:-1])

    assert max(first) == size
    assert max(last) == chunking.LAST_SIZE_MIN
    assert last[1] / last.total() < 0.06


@given(st.integers(1, 3000), st.integers(1, 15), st.integers(0, 60), st.integers(0, 2**32))
def test_no_chunk_is_larger_than_what_is_left_for_each_node(images, size, nodes, seed):
    runs = chunking.cut(["image"] * images, size=size, nodes=nodes, randomness=random.Random(seed))

    left = images
    for run in runs:
        share = left // (max(1, nodes) * chunking.LAST_PER_NODE)
        assert len(run) <= size
        assert len(run) <= max(share, chunking.LAST_SIZE_MIN)
        left -= len(run)
