"""Which errors stop a job: those of many owners, never those of one or two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import breaker

ERRORS = st.dictionaries(
    st.tuples(st.sampled_from(["model_died", "out_of_memory"]), st.integers(1, 6)),
    st.integers(1, 500),
    max_size=12,
)


@pytest.mark.parametrize(
    ("counts", "decided", "expected"),
    [
        ([4, 4, 4], 12, "model_died"),
        ([4, 3, 3], 10, ""),  # a half, but one counts for 3 1/3 at most
        ([4, 4, 4], 8, "model_died"),
        ([4, 4, 4], 13, ""),  # fewer than half
        ([7, 6, 6], 0, ""),  # too few to tell
        ([7, 7, 6], 0, "model_died"),
        ([1000], 0, ""),
        ([1000, 1000], 0, ""),
        ([30, 1, 1], 0, ""),  # two with a bad day lend nobody their weight
    ],
)
def test_half_of_twenty_must_name_one_error_and_no_owner_counts_for_more_than_a_third(
    counts, decided, expected
):
    errors = {("model_died", owner): count for owner, count in enumerate(counts)}

    assert breaker.common_error(errors, decided=decided) == expected


@given(errors=ERRORS, decided=st.integers(0, 1000))
def test_whatever_two_owners_do_no_job_stops(errors, decided):
    of_two = {key: count for key, count in errors.items() if key[1] <= 2}

    assert breaker.common_error(of_two, decided=decided) == ""


@given(errors=ERRORS, decided=st.integers(0, 1000))
def test_what_stops_a_job_is_half_of_all_that_ended_and_of_three_owners(errors, decided):
    found = breaker.common_error(errors, decided=decided)

    if found:
        alike = {owner: count for (code, owner), count in errors.items() if code == found}
        assert len(alike) >= breaker.OWNERS_MIN
        assert 2 * sum(alike.values()) >= decided + sum(errors.values())


@given(errors=ERRORS, decided=st.integers(1, 1000))
def test_more_decided_chunks_never_stop_a_job_that_went_on(errors, decided):
    total = decided - 1 + sum(errors.values())
    if total >= breaker.DECISIONS_MIN and not breaker.common_error(errors, decided=decided - 1):
        assert breaker.common_error(errors, decided=decided) == ""
