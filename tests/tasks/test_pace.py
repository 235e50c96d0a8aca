"""How long a picture takes: learnt slowly, so that a lie brings little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import pace

milliseconds = st.floats(0.0, 1e9)


def test_the_first_answer_is_believed():
    assert pace.follow(None, 120.0, seen_least=400.0) == 120.0


@given(st.floats(1.0, 1e7), milliseconds, milliseconds)
def test_one_answer_moves_the_pace_by_a_quarter_up_or_an_eighth_down_at_most(known, said, least):
    after = pace.follow(known, said, seen_least=least)

    assert max(1.0, 0.875 * known) * (1 - 1e-9) <= after <= 1.25 * known * (1 + 1e-9)


@given(st.lists(milliseconds, min_size=1, max_size=20), st.floats(1.0, 1e7))
def test_the_pace_never_leaves_what_was_said(said, known):
    after = pace.follow_all(known, [(each, 0.0) for each in said])

    assert min(known, *said, 1.0) <= after <= max(known, *said) * (1 + 1e-9)


@given(milliseconds, milliseconds, milliseconds)
def test_who_takes_longer_is_never_thought_faster(known, said, more):
    faster, slower = pace.follow(known, said), pace.follow(known, said + more)

    assert faster <= slower


def test_honest_answers_lead_to_the_truth_from_either_side():
    answers = [(200.0, 0.0)] * 40

    assert pace.follow_all(5000.0, answers) == pytest.approx(200.0, rel=0.02)
    assert pace.follow_all(5.0, answers) == pytest.approx(200.0, rel=0.02)


def test_who_claims_to_be_fast_is_held_to_our_clock():
    claimed = pace.of_answer(compute_ms=1, wall_ms=41_000.0, images=5)

    assert claimed == (0.2, 2000.0)
    assert pace.follow_all(None, [claimed] * 50) == pytest.approx(2000.0, rel=0.02)


def test_nobody_computes_longer_than_the_answer_took():
    assert pace.of_answer(compute_ms=90_000, wall_ms=3000.0, images=3) == (
        1000.0,
        pytest.approx(2000 / 4 / 3),
    )


@pytest.mark.parametrize(
    ("paces", "share", "expected"),
    [
        ([], 0.75, None),
        ([3.0], 0.75, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.75, 3.0),
        ([2.0, 1.0], 0.5, 1.0),
    ],
)
def test_a_quantile_is_a_pace_that_somebody_keeps(paces, share, expected):
    assert pace.quantile(paces, share=share) == expected
