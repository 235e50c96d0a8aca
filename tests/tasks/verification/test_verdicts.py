"""A decision carried out: results, money, the job's end, all in one."""

from __future__ import annotations

from functools import partial

import pytest

from payments import ledger
from payments import queries as money
from payments.models import Transfer
from tasks import leases, scheduling
from tasks.models import Apart, Chunk, Credibility, Job, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import acceptance, verdicts
from tests import factories
from tests.tasks import work

REWARD_MINOR = 50_000
FEE_MINOR = 5_000


def states(job) -> list[str]:
    return list(job.replicas.order_by("pk").values_list("state", flat=True))


def pending_minor(replica) -> int:
    return money.wallet(replica.operator_id).pending_minor


def ending(job) -> tuple[str, int, int, int]:
    """Return the job's state, its items with a result and failed ones, and what came back."""
    job.refresh_from_db()
    returned = money.escrow("job", job.pk).returned_minor
    return job.state, job.items_provisional, job.items_failed, returned


def test_two_that_agree_finish_the_job_and_are_paid(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    first, second = work.leased(job)

    work.take(work.report_of(first), work.report_of(second))

    assert states(job) == ["accepted", "accepted"]
    assert ending(job) == ("finished", 1, 0, 0)
    assert pending_minor(first) == pending_minor(second) == REWARD_MINOR
    assert (job.first_result_at, job.finished_at, job.reason) == (now, now, "")
    assert job.events.get(code="finished").detail == {"returned_minor": 0}
    assert work.unsound() == []


def test_the_result_names_labels_above_the_threshold_strongest_first(client_user, now):
    job = work.start(client_user, factories.make_fleet(2), score_threshold=0.5)
    found = [(17, 0.5, 1.0, 2.0, 3.0, 4.0), (1, 0.49, 0.0, 0.0, 9.0, 9.0), work.FOUND]

    work.take(*(work.report_of(replica, *found) for replica in work.leased(job)))

    item = job.items.get()
    assert (item.state, item.source, item.decided_at) == ("provisional", "machine", now)
    assert item.detections == [
        {"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]},
        {"label": "cat", "score": 0.5, "box": [1.0, 2.0, 3.0, 4.0]},
    ]


def test_agreeing_that_nothing_is_there_is_a_result(client_user):
    job = work.start(client_user, factories.make_fleet(2))

    work.take(*(work.report_of(row, answers=work.answers_of(row)) for row in work.leased(job)))

    assert job.items.get().detections == []
    assert ending(job) == ("finished", 1, 0, 0)


def test_the_medoid_is_the_result(client_user, now):
    job = work.start(client_user, factories.make_fleet(3), target_error="1e-3")
    sent = [
        work.report_of(replica, (1, score, 10.0, 10.0, 20.0, 20.0))
        for replica, score in zip(work.leased(job), (0.893, 0.897, 0.901), strict=True)
    ]

    work.take(*sent)

    assert job.items.get().detections[0]["score"] == 0.897


def test_two_that_differ_call_more_until_a_group_is_believed(client_user, now):
    job = work.start(client_user, factories.make_fleet(4))
    first, second = work.leased(job)

    work.take(work.report_of(first), work.report_of(second, work.ELSEWHERE))
    scheduling.assign_ready(now=now)
    more = work.leased(job)
    work.take(*map(work.report_of, more))

    assert len(more) == 2
    assert states(job) == ["accepted", "reported", "accepted", "accepted"]
    assert ending(job) == ("finished", 1, 0, 0)
    assert job.disagreements == 1
    assert job.events.filter(code="disagreement").count() == 1
    assert work.unsound() == []


def test_whoever_differs_is_refused_only_after_the_referee_has_spoken(client_user, now):
    job = work.start(client_user, factories.make_fleet(4))
    first, liar = work.leased(job)
    work.take(work.report_of(first), work.report_of(liar, work.ELSEWHERE))
    scheduling.assign_ready(now=now)
    work.take(*map(work.report_of, work.leased(job)))
    assert not Strike.objects.exists()

    work.referee_says(job.chunks.get(), work.FOUND)

    liar.refresh_from_db()
    assert (liar.state, liar.reason) == (Replica.State.REJECTED, ReplicaReason.WRONG)
    strike = Strike.objects.get()
    assert (strike.replica_id, strike.cause, strike.enforced_at) == (liar.pk, "referee", now)
    assert (pending_minor(first), pending_minor(liar)) == (REWARD_MINOR, 0)
    assert work.unsound() == []


def test_whom_the_referee_finds_nearly_right_is_refused_and_not_struck(client_user, now):
    """Two in other digits: not paid, but no strike, nobody kept apart, nothing doubted."""
    job = work.start(client_user, factories.make_fleet(5))
    imprecise = work.leased(job)
    work.take(*[work.report_of(each, work.NEARLY) for each in imprecise])
    chunk = job.chunks.get()
    Chunk.objects.filter(pk=chunk.pk).update(referee_asked_at=now)

    work.referee_says(chunk, work.FOUND)

    assert list(job.replicas.values_list("state", "reason")) == [("rejected", "overturned")] * 2
    assert sorted(Strike.objects.values_list("cause", "is_counted")) == [("near", False)] * 2
    records = Credibility.objects.filter(model=job.model)
    # One check each, from agreeing with each other; half of it is gone.
    assert list(records.values_list("checks_tenths", "strikes")) == [(5, 0)] * 2
    assert not Replica.objects.exclude(doubted_at=None).exists()
    assert not Apart.objects.exists()
    ledger.post_intents(limit=100, now=now)
    assert [pending_minor(each) for each in imprecise] == [0, 0]
    assert work.unsound() == []


def test_the_referee_overturns_a_group_that_lied(client_user, now):
    job = work.start(client_user, factories.make_fleet(4))
    liars = work.leased(job)
    work.take(*[work.report_of(liar, work.ELSEWHERE) for liar in liars])
    assert ending(job) == ("finished", 1, 0, 0)
    chunk = job.chunks.get()
    Chunk.objects.filter(pk=chunk.pk).update(referee_asked_at=now)

    work.referee_says(chunk, work.FOUND)

    assert states(job) == ["rejected", "rejected"]
    assert job.items.get().detections == [
        {"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]}
    ]
    job.refresh_from_db()
    assert job.corrections == 1
    assert job.events.filter(code="result_corrected").count() == 1
    assert Strike.objects.count() == 2
    pair = Apart.objects.get()
    assert {pair.first_id, pair.second_id} == {liar.operator_id for liar in liars}
    ledger.post_intents(limit=100, now=now)
    assert [pending_minor(liar) for liar in liars] == [0, 0]
    assert work.unsound() == []


def test_without_agreement_the_referee_decides(client_user, now):
    job = work.start(client_user, factories.make_fleet(acceptance.ATTEMPTS_MAX))

    for place in range(acceptance.ATTEMPTS_MAX):
        leased = work.leased(job)
        if not leased:
            break
        work.take(work.report_of(leased[0], (1, 0.9, 5.0 * place, 0.0, 10.0, 10.0)))
        scheduling.assign_ready(now=now)
    chunk = job.chunks.get()
    assert chunk.referee_asked_at == now
    for replica in work.leased(job):
        work.take(work.report_of(replica, status="handed_back", answers=[]))

    work.referee_says(chunk, work.FOUND)

    assert job.items.get().detections == [
        {"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]}
    ]
    assert ending(job) == ("finished", 1, 0, job.price_minor)
    assert work.unsound() == []


def test_what_the_referee_cannot_compute_either_fails_and_costs_nothing(client_user, now):
    job = work.start(client_user, factories.make_fleet(4))
    for _ in range(acceptance.ERRORS_MAX):
        replica = work.leased(job)[-1]
        report = work.report_of(replica, status="failed", reason="model_died", answers=[])
        work.take(report)
        scheduling.assign_ready(now=now)

    work.referee_says(job.chunks.get(), error="model_died")

    chunk = job.chunks.get()
    assert (chunk.state, chunk.reason) == (Chunk.State.FAILED, "app_error")
    assert ending(job) == ("failed", 0, 1, job.price_minor)
    assert job.reason == "nothing_agreed"
    spared = job.replicas.get(state=Replica.State.CANCELLED)
    assert (spared.reason, money.rewards([str(spared.pk)])[str(spared.pk)].reward_minor) == (
        "not_needed",
        REWARD_MINOR,
    )
    assert work.unsound() == []


def test_in_a_race_the_first_answer_wins_and_all_who_ran_are_paid(client_user):
    job = work.start(client_user, factories.make_fleet(3), mode="race")
    slow, fast, other = work.leased(job)

    work.take(work.report_of(fast))

    assert states(job) == ["cancelled", "accepted", "cancelled"]
    assert ending(job) == ("finished", 1, 0, 0)
    assert [pending_minor(row) for row in (slow, fast, other)] == [REWARD_MINOR] * 3
    assert money.escrow("job", job.pk).spent_minor == 3 * (REWARD_MINOR + FEE_MINOR)
    assert work.unsound() == []


def test_what_a_race_did_not_need_is_returned(client_user):
    job = work.start(client_user, factories.make_fleet(1), mode="race")

    work.take(*map(work.report_of, work.leased(job)))

    assert ending(job) == ("finished", 1, 0, 2 * (REWARD_MINOR + FEE_MINOR))
    assert work.unsound() == []


def test_work_beyond_what_was_quoted_is_paid_from_the_reserve(client_user, now):
    job = work.start(client_user, factories.make_fleet(3))
    lost, first = work.leased(job)
    reason = ReplicaReason.LEASE_EXPIRED
    leases.end(replica=lost, state=Replica.State.LOST, reason=reason, now=now)
    scheduling.assign_ready(now=now)
    spare = work.leased(job)[-1]

    work.take(work.report_of(lost), work.report_of(first))

    assert states(job) == ["accepted", "accepted", "cancelled"]
    assert ending(job) == ("finished", 1, 0, 0)
    transfers = Transfer.objects.filter(kind="reward").order_by("ref_id")
    paid = {int(row.ref_id): row.debit.kind for row in transfers.select_related("debit")}
    assert paid[first.pk] == paid[lost.pk] == "escrow"
    assert money.rewards([str(spare.pk)])[str(spare.pk)].reward_minor == REWARD_MINOR
    assert paid.get(spare.pk, "platform_reserve") == "platform_reserve"
    assert money.escrow("job", job.pk).spent_minor == job.price_minor
    assert work.unsound() == []


def test_a_job_with_some_failed_items_finishes_and_pays_for_the_rest(client_user, now):
    job = work.start(client_user, factories.make_fleet(3, slots=2), images=2)
    good = [row for row in work.leased(job) if row.chunk.index == 0]
    work.take(*map(work.report_of, good))
    for _ in range(acceptance.ERRORS_MAX):
        failed = work.report_of(work.leased(job)[0], status="failed", reason="x", answers=[])
        work.take(failed)
        scheduling.assign_ready(now=now)
    work.referee_says(job.chunks.get(index=1), error="x")

    state, accepted, failed, returned = ending(job)
    assert (state, accepted, failed) == ("finished", 1, 1)
    assert returned == job.price_minor // 2
    assert job.events.get(code="chunk_failed").detail == {"chunk": 1, "reason": "app_error"}
    assert work.unsound() == []


def test_deciding_again_changes_nothing(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    work.take(*map(work.report_of, work.leased(job)))
    before = work.everything()

    again = verdicts.advance(chunk_id=job.chunks.get().pk, now=now)

    assert again is not None
    assert again.action == "accept"
    assert work.everything() == before


def test_an_undecided_chunk_is_left_as_it_is(client_user, now):
    job = work.start(client_user, factories.make_fleet(2))
    before = work.everything()

    decision = verdicts.advance(chunk_id=job.chunks.get().pk, now=now)

    assert decision == acceptance.Decision(action="wait")
    assert work.everything() == before


def test_the_rest_of_the_losers_are_told_after_commit(
    client_user, django_capture_on_commit_callbacks
):
    job = work.start(client_user, factories.make_fleet(3), mode="race")
    first, *others = work.leased(job)

    with django_capture_on_commit_callbacks() as callbacks:
        work.take(work.report_of(first))

    assert [call.keywords for call in callbacks] == [{"replica_ids": [row.pk for row in others]}]


@pytest.mark.django_db(transaction=True)
def test_deciding_side_by_side_pays_and_counts_once(now, side_by_side):
    job = work.start(factories.make_user(), factories.make_fleet(2, slots=4), images=4)
    chunk_ids = list(job.chunks.order_by("pk").values_list("pk", flat=True))

    def decide_all(order):
        return [verdicts.advance(chunk_id=pk, now=now) for pk in order]

    sent = [work.report_of(row) for row in work.leased(job)]
    answers = side_by_side(
        *[partial(work.take, *sent[part::3]) for part in range(3)],
        partial(decide_all, chunk_ids),
        partial(decide_all, chunk_ids[::-1]),
    )

    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    decide_all(chunk_ids)
    assert ending(job) == ("finished", 4, 0, 0)
    assert Transfer.objects.filter(kind="reward").count() == 8
    assert Job.objects.get().events.filter(code="finished").count() == 1
    assert work.unsound() == []
