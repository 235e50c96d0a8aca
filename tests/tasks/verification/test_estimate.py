"""The interval of Clopper and Pearson: known values, and what must hold of all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import estimate


def test_without_audits_there_is_no_estimate():
    assert estimate.of_audits(audits=0, failed=0) is None


@pytest.mark.parametrize(
    ("audits", "failed", "lower", "upper"),
    [
        # R: binom.test(failed, audits)$conf.int
        (10, 0, 0.0, 0.3084971),
        (10, 1, 0.002528579, 0.4450161),
        (100, 5, 0.01643187, 0.1128349),
        (7, 7, 0.5903836, 1.0),
    ],
)
def test_known_intervals(audits, failed, lower, upper):
    found = estimate.of_audits(audits=audits, failed=failed)

    assert found.rate == failed / audits
    assert found.lower == pytest.approx(lower, rel=1e-5, abs=1e-12)
    assert found.upper == pytest.approx(upper, rel=1e-5)


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_rate(audits, data):
    failed = data.draw(st.integers(0, audits))

    found = estimate.of_audits(audits=audits, failed=failed)

    assert 0 <= found.lower <= found.rate <= found.upper <= 1


@given(st.integers(2, 300), st.data())
def test_more_failures_move_both_ends_up(audits, data):
    failed = data.draw(st.integers(0, audits - 1))

    fewer = estimate.of_audits(audits=audits, failed=failed)
    more = estimate.of_audits(audits=audits, failed=failed + 1)

    assert fewer.lower < more.lower
    assert fewer.upper <= more.upper


def test_more_failures_than_audits_are_a_mistake():
    with pytest.raises(ValueError, match="part of the audits"):
        estimate.of_audits(audits=1, failed=2)
