"""Whom an announcement reaches."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks import ids, samples

LARGE = 25_000
jobs = st.integers(0, 10**6).map(lambda number: f"job_{number:026d}")


@given(jobs, st.integers(0, 100), st.integers(0, samples.FLEET_ALL_MAX), st.integers(0, 10**5))
def test_a_small_fleet_is_told_as_a_whole(job_id, told, nodes, wanted):
    assert samples.draw(job_id=job_id, told=told, nodes=nodes, wanted=wanted) == ""


@given(jobs, st.integers(0, 100), st.integers(2001, 10**6), st.integers(0, 10**5))
def test_a_sample_is_large_enough_and_not_much_larger(job_id, told, nodes, wanted):
    drawn = samples.draw(job_id=job_id, told=told, nodes=nodes, wanted=wanted)

    least = max(samples.NODES_MIN, samples.MARGIN * wanted)
    each = nodes / len(samples.BUCKETS)
    if drawn:
        assert len(set(drawn)) == len(drawn) < len(samples.BUCKETS)
        assert set(drawn) <= set(samples.BUCKETS)
        assert least <= len(drawn) * each < least + each
    else:
        assert least > nodes - each


@given(jobs, st.integers(2001, 10**6), st.integers(0, 1000))
def test_every_bucket_is_told_before_any_a_second_time(job_id, nodes, wanted):
    told = ""
    while len(told) < len(samples.BUCKETS):
        drawn = samples.draw(job_id=job_id, told=len(told), nodes=nodes, wanted=wanted)
        if not drawn:
            return
        told += drawn

    assert set(told) == set(samples.BUCKETS)
    assert len(set(told[: len(samples.BUCKETS)])) == len(samples.BUCKETS)


def test_jobs_begin_with_different_buckets():
    first = Counter(
        samples.draw(job_id=ids.new_job(), told=0, nodes=LARGE, wanted=1)[0] for _ in range(3200)
    )

    assert set(first) == set(samples.BUCKETS)
    assert max(first.values()) < 200


def test_nodes_are_spread_evenly_over_the_buckets():
    counts = Counter(samples.bucket(ids.new_node()) for _ in range(3200))

    assert set(counts) == set(samples.BUCKETS)
    assert max(counts.values()) < 200
