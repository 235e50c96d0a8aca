"""A late chunk gets one more node, once, within the budget; who was late may still answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import queries
from tasks import hedging, leases, scheduling
from tasks.models import Chunk, Credibility, Job
from tasks.verification import audits, strikes, verdicts
from tests import factories
from tests.tasks import work

SECOND = timedelta(seconds=1)


@pytest.fixture
def nodes():
    return factories.make_fleet(6, slots=8)


@pytest.fixture
def late_job(client_user, nodes, now):
    """Four of five chunks are answered after two seconds; the last is still out."""
    job = work.start(client_user, nodes[:2], images=5)
    *done, late = job.chunks.order_by("index")
    leased = [row for row in work.leased(job) if row.chunk_id != late.pk]
    assert {row.chunk_id for row in leased} == {chunk.pk for chunk in done}
    work.take(*map(work.report_of, leased), now=now + 2 * SECOND)
    factories.announce(job, nodes=nodes[2:])
    Job.objects.filter(pk=job.pk).update(announced_at=now)
    return job


def hedges(job):
    return list(job.replicas.filter(purpose="hedge"))


def test_work_that_is_not_late_is_left_alone(late_job, now):
    assert hedging.hedge(now=now + 3 * SECOND) == 0


def test_a_late_chunk_goes_to_one_more_node_once(late_job, now):
    late = now + 4 * SECOND

    assert hedging.hedge(now=late) == 1
    made = scheduling.assign_ready(now=late)

    (hedge,) = hedges(late_job)
    assert made == [hedge.pk]
    assert hedging.hedge(now=late + SECOND) == 0
    assert work.unsound() == []


def test_who_answers_first_decides_and_the_late_one_is_not_withdrawn(late_job, now):
    late = now + 4 * SECOND
    hedging.hedge(now=late)
    scheduling.assign_ready(now=late)
    (hedge,) = hedges(late_job)
    first, second = [row for row in work.leased(late_job) if row.pk != hedge.pk]

    work.take(work.report_of(hedge), work.report_of(first), now=late)

    late_job.refresh_from_db()
    assert (late_job.state, late_job.items_provisional) == ("finished", 5)
    assert work.leased(late_job) == [second]
    assert work.unsound() == []


def hedged(late_job, now):
    """Hedge the late chunk, give the hedge out and answer it; return both replicas."""
    late = now + 4 * SECOND
    hedging.hedge(now=late)
    scheduling.assign_ready(now=late)
    (hedge,) = hedges(late_job)
    first = next(row for row in work.leased(late_job) if row.pk != hedge.pk)
    return first, hedge


def owed(replica) -> int:
    """Return what the replica's reward comes to, in minor units."""
    return sum(each.reward_minor for each in queries.rewards([str(replica.pk)]).values())


def test_whoever_is_overtaken_keeps_the_lease_and_is_paid_for_an_answer(late_job, now):
    first, hedge = hedged(late_job, now)
    others = [row for row in work.leased(late_job) if row.pk not in {first.pk, hedge.pk}]

    work.take(work.report_of(hedge), *map(work.report_of, others), now=now + 5 * SECOND)

    late_job.refresh_from_db()
    first.refresh_from_db()
    assert (late_job.state, first.state, owed(first)) == ("finished", "leased", 0)
    assert work.unsound() == []
    work.take(work.report_of(first), now=now + 20 * SECOND)
    first.refresh_from_db()
    assert (first.state, owed(first)) == ("accepted", first.reward_minor)
    assert work.unsound() == []


def test_whoever_is_overtaken_and_says_nothing_is_not_paid_and_nobody_is_asked_instead(
    late_job, now
):
    first, hedge = hedged(late_job, now)
    others = [row for row in work.leased(late_job) if row.pk not in {first.pk, hedge.pk}]
    work.take(work.report_of(hedge), *map(work.report_of, others), now=now + 5 * SECOND)
    much_later = now + 60 * SECOND

    assert leases.expire(now=much_later) == 1

    first.refresh_from_db()
    assert (first.state, first.reason, owed(first)) == ("lost", "lease_expired", 0)
    assert scheduling.assign_ready(now=much_later) == []
    assert strikes.look_again(now=much_later + 60 * SECOND) == 1
    chunk = Chunk.objects.get(pk=first.chunk_id)
    assert (chunk.state, chunk.granted, chunk.wanted) == ("provisional", 2, 2)
    assert work.unsound() == []


def test_deciding_an_overtaken_chunk_again_changes_nothing(late_job, now, monkeypatch):
    monkeypatch.setattr(audits, "is_drawn", lambda *, chunk_id, checks: True)
    Credibility.objects.update(checks_tenths=500)
    first, hedge = hedged(late_job, now)
    work.take(work.report_of(hedge), now=now + 5 * SECOND)
    before = work.everything()

    verdicts.advance(chunk_id=first.chunk_id, now=now + 6 * SECOND)

    assert work.everything() == before


@pytest.mark.django_db(transaction=True)
def test_two_who_look_at_once_hedge_once(late_job, now, side_by_side):
    late = now + 4 * SECOND

    counts = side_by_side(*[lambda: hedging.hedge(now=late)] * 2)

    assert sum(counts) == 1
    chunk = late_job.chunks.get(purpose="hedge")
    assert (chunk.wanted, chunk.granted) == (3, 2)


def test_before_anything_is_usual_only_silence_is_late(client_user, nodes, now):
    job = work.start(client_user, nodes[:2], images=2)

    assert hedging.hedge(now=now + 30 * SECOND) == 0
    assert hedging.hedge(now=now + 34 * SECOND) == 1
    assert job.chunks.filter(purpose="hedge").count() == 1


def test_a_silent_node_is_not_waited_for_while_there_is_other_work(late_job, now):
    late = now + 4 * SECOND
    (other,) = late_job.chunks.filter(state="provisional").order_by("pk")[:1]
    Chunk.objects.filter(pk=other.pk).update(state="open", granted=0, wanted=1)
    Credibility.objects.update(image_ms=100.0)

    assert hedging.hedge(now=late) == 1


def one(row=1, **fields):
    defaults = {"chunk": row, "elapsed": 100 * SECOND, "silent": 0 * SECOND}
    return hedging.Running(**{**defaults, **fields})


@pytest.mark.parametrize(
    ("row", "usual", "is_chosen"),
    [
        (one(), 50 * SECOND, True),
        (one(), 70 * SECOND, False),
        (one(images=6), 10 * SECOND, True),
        (one(images=7), 10 * SECOND, False),
        (one(), None, False),
        (one(silent=34 * SECOND), None, True),
        (one(silent=32 * SECOND), None, False),
    ],
)
def test_what_is_late_is_told_by_the_jobs_answers_or_by_silence(row, usual, is_chosen):
    chosen = hedging.choose([row], usual=usual, out=1, hedges=0, is_at_end=True)

    assert chosen == ([1] if is_chosen else [])


def test_the_dead_come_before_the_late_and_have_a_larger_share():
    late = [one(number) for number in range(1, 11)]
    dead = [one(number, silent=50 * SECOND) for number in range(11, 41)]
    overdue = [one(41, silent=16 * SECOND, expected=10 * SECOND)]
    slow = [one(42, silent=16 * SECOND, expected=90 * SECOND)]

    def choose(rows, **fields):
        known = {"usual": 10 * SECOND, "out": 100, "hedges": 0, "is_at_end": False, **fields}
        return hedging.choose(rows, **known)

    assert choose(late) == [1, 2, 3, 4, 5]
    assert choose(late, is_at_end=True) == list(range(1, 11))
    assert choose([*late, *dead]) == list(range(11, 36))
    assert choose([*late, *overdue, *slow]) == [41, 1, 2, 3, 4]
    assert choose([*late, *dead], hedges=25) == []


@given(
    st.lists(
        st.builds(
            one,
            st.integers(1, 20),
            elapsed=st.integers(0, 200).map(lambda seconds: seconds * SECOND),
            silent=st.integers(0, 200).map(lambda seconds: seconds * SECOND),
            expected=st.one_of(st.none(), st.integers(1, 100).map(lambda n: n * SECOND)),
        ),
        max_size=30,
    ),
    st.one_of(st.none(), st.integers(0, 100).map(lambda seconds: seconds * SECOND)),
    st.integers(0, 60),
    st.integers(0, 60),
    st.booleans(),
)
def test_hedges_never_pass_their_share(rows, usual, out, hedges, is_at_end):
    chosen = hedging.choose(rows, usual=usual, out=out, hedges=hedges, is_at_end=is_at_end)

    assert len(set(chosen)) == len(chosen)
    assert not chosen or len(chosen) + hedges <= max(1, out // 4)
    assert all(
        any(row.chunk == chunk and row.elapsed + row.silent > SECOND for row in rows)
        for chunk in chosen
    )


@pytest.mark.parametrize(("count", "expected"), [(3, None), (4, 3), (8, 6), (100, 75)])
def test_three_quarters_took_no_longer(count, expected):
    found = hedging.percentile([number * SECOND for number in range(1, count + 1)])

    assert found == (None if expected is None else expected * SECOND)
