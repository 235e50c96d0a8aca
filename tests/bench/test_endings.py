"""The simulated end of a job keeps to the platform's rules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulation import endings
from tasks import chunking, hedging

SECOND = timedelta(seconds=1)


@given(left=st.integers(0, 10**6), machines=st.integers(1, 10**5))
def test_chunks_become_smaller_as_the_platforms_do(left, machines):
    whole = chunking.IMAGES_MAX

    share = endings.share_of_next(left=left / whole, machines=machines)

    # The platform rounds down to whole pictures.
    bound = chunking._bound(left, size=whole, nodes=machines)
    assert bound <= whole * share + 1e-9 < bound + 1


@given(
    paces=st.lists(st.integers(1, 100), max_size=12),
    elapsed=st.lists(st.integers(0, 500), min_size=1, max_size=40),
    hedges=st.integers(0, 6),
    is_at_end=st.booleans(),
)
def test_as_much_is_hedged_as_on_the_platform(paces, elapsed, hedges, is_at_end):
    out = len(elapsed)
    rows = [
        hedging.Running(
            chunk=number, elapsed=each * SECOND, silent=timedelta(0), images=1, expected=None
        )
        for number, each in enumerate(elapsed)
    ]
    usual = hedging.percentile([pace * SECOND for pace in paces])
    theirs = hedging.choose(rows, usual=usual, out=out, hedges=hedges, is_at_end=is_at_end)

    late_from = endings.late_from(paces)
    late = [] if late_from is None else [n for n, each in enumerate(elapsed) if each > late_from]
    budget = endings.budget(running=out, hedges=hedges, is_at_end=is_at_end)

    assert late[:budget] == theirs


@pytest.mark.parametrize("name", ["LATE_FROM", "ANSWERS_MIN", "ANSWERS_MAX"])
def test_the_numbers_are_the_platforms(name):
    assert getattr(endings, name) == getattr(hedging, name)
