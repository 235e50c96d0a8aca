"""What nodes answer: only the leaseholder, only once, only within the rules."""

from __future__ import annotations

from datetime import timedelta

import pytest

from payments import queries as money
from tasks import jobs, leases, scheduling
from tasks.models import Node, Replica
from tasks.reasons import ReplicaReason
from tasks.verification import finality
from tests import factories
from tests.tasks import work
from workers.protocol import messages

SECOND = timedelta(seconds=1)


@pytest.fixture
def fleet(db):
    return factories.make_fleet(3)


@pytest.fixture
def job(client_user, fleet):
    """One image that two of three nodes compute."""
    return work.start(client_user, fleet)


@pytest.fixture
def replica(job) -> Replica:
    return work.leased(job)[0]


def lose(replica, now):
    reason = ReplicaReason.LEASE_EXPIRED
    return leases.end(replica=replica, state=Replica.State.LOST, reason=reason, now=now)


def answer(**changes) -> list[messages.Answer]:
    fields = {"position": 0, "width": 64, "height": 48, "detections": [work.FOUND]}
    return [messages.Answer(**{**fields, **changes})]


def test_an_answer_is_kept_with_its_evidence(job, replica, now):
    report = work.report_of(replica)

    (decision,) = work.take(report, now=now + SECOND)

    replica.refresh_from_db()
    assert decision.action == "wait"
    assert (replica.state, replica.reason, replica.compute_ms) == ("reported", "", 120)
    assert replica.answer == [[[*work.FOUND]]]
    assert (replica.reported_at, replica.signed_report.signature) == (now + SECOND, "s" * 88)
    assert messages.Report.model_validate_json(replica.signed_report.body) == report
    assert job.chunks.get().granted == 2
    assert Node.objects.get(pk=replica.node_id).last_seen_at == now + SECOND
    assert work.unsound() == []


def test_the_same_report_twice_in_a_batch_counts_once(replica):
    decisions = work.take(work.report_of(replica), work.report_of(replica))

    assert [decision.action for decision in decisions] == ["wait"]


@pytest.mark.parametrize("found", [work.FOUND, work.ELSEWHERE], ids=["the same", "another"])
def test_a_second_report_for_an_assignment_changes_nothing(replica, found):
    work.take(work.report_of(replica))
    before = work.everything()

    assert work.take(work.report_of(replica, found)) == []

    assert work.everything() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "0" * 32},
        {"assignment": "999999999"},
        {"assignment": "nonsense"},
        {"nonce": "0" * 32, "status": "failed", "answers": []},
    ],
    ids=["a wrong nonce", "an unknown number", "no number", "a failure with a wrong nonce"],
)
def test_a_report_for_nobodys_lease_changes_nothing(replica, changes):
    before = work.everything()

    assert work.take(work.report_of(replica, **changes)) == []

    assert work.everything() == before


@pytest.mark.parametrize("status", ["done", "failed", "handed_back"])
def test_a_node_cannot_answer_for_another(job, status):
    mine, other = work.leased(job)
    before = work.everything()

    assert work.take(work.report_of(mine, node=other.node_id, status=status)) == []

    assert work.everything() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"model_digest": "0" * 64},
        {"answers": []},
        {"answers": answer(position=1)},
        {"answers": answer() + answer()},
        {"answers": answer(width=48, height=64)},
        {"answers": answer(detections=[(2, 0.9, 0.0, 0.0, 1.0, 1.0)])},
        {"answers": answer(detections=[(1, 0.9, 60.0, 0.0, 5.1, 1.0)])},
        {"answers": answer(detections=[(1, 0.9, 0.0, 48.0, 1.0, 1.5)])},
    ],
    ids=[
        "another model",
        "a position missing",
        "an unknown position",
        "a position twice",
        "a turned picture",
        "an unknown label",
        "a box beyond the right edge",
        "a box below the picture",
    ],
)
def test_an_answer_that_breaks_the_rules_is_refused_and_its_place_is_free(job, replica, changes):
    (decision,) = work.take(work.report_of(replica, **changes))

    replica.refresh_from_db()
    assert decision.action == "more"
    assert (replica.state, replica.reason) == ("rejected", "invalid_answer")
    assert replica.answer is None
    assert replica.signed_report.body != ""
    assert job.chunks.get().granted == 1
    assert money.rewards([str(replica.pk)]) == {}
    assert work.unsound() == []


def test_a_box_may_reach_a_pixel_over_the_edge(replica):
    work.take(work.report_of(replica, (1, 0.9, 44.0, 28.0, 21.0, 21.0)))

    replica.refresh_from_db()
    assert replica.state == Replica.State.REPORTED


def test_an_invalid_answer_after_a_lost_lease_frees_no_second_place(job, replica, now):
    lose(replica, now)

    work.take(work.report_of(replica, answers=[]))

    replica.refresh_from_db()
    assert (replica.state, job.chunks.get().granted) == ("rejected", 1)
    assert work.unsound() == []


def test_a_failure_frees_the_place_for_another_owner(job, replica, now):
    (decision,) = work.take(work.report_of(replica, status="failed", answers=[]))

    replica.refresh_from_db()
    assert decision.action == "more"
    assert (replica.state, replica.reason) == ("failed", "node_error")
    scheduling.assign_ready(now=now)
    assert replica.node_id not in {row.node_id for row in work.leased(job)}
    assert len(work.leased(job)) == 2
    assert work.unsound() == []


def test_a_chunk_handed_back_may_go_to_the_same_owner_again(client_user, operator, now):
    job = work.start(client_user, [factories.make_node(operator)])
    (replica,) = work.leased(job)

    work.take(work.report_of(replica, status="handed_back", answers=[]))
    scheduling.assign_ready(now=now)

    replica.refresh_from_db()
    assert (replica.state, replica.reason) == ("failed", "handed_back")
    (again,) = work.leased(job)
    assert again.operator_id == replica.operator_id
    assert again.pk != replica.pk
    assert work.unsound() == []


def test_a_late_answer_counts_while_its_chunk_is_open(job, replica, now):
    lose(replica, now)

    (decision,) = work.take(work.report_of(replica), now=now + SECOND)

    replica.refresh_from_db()
    assert decision.action == "wait"
    assert (replica.state, replica.reason) == ("reported", "")
    chunk = job.chunks.get()
    assert (chunk.granted, chunk.wanted) == (2, 2)
    assert work.unsound() == []


def test_a_late_answer_beside_its_substitute_makes_room_for_itself(job, replica, now):
    lose(replica, now)
    scheduling.assign_ready(now=now)

    work.take(work.report_of(replica), now=now + SECOND)

    chunk = job.chunks.get()
    assert (chunk.granted, chunk.wanted) == (3, 3)
    assert work.unsound() == []


def test_two_late_answers_of_one_owner_count_once(client_user, operator, now):
    job = work.start(client_user, [factories.make_node(operator)])
    lost = work.leased(job)
    lose(lost[0], now)
    scheduling.assign_ready(now=now)
    lost += work.leased(job)
    lose(lost[1], now)

    work.take(*map(work.report_of, lost), now=now + SECOND)

    assert sorted(job.replicas.values_list("state", flat=True)) == ["lost", "reported"]
    assert job.chunks.get().granted == 1
    assert work.unsound() == []


@pytest.mark.parametrize("status", ["failed", "handed_back"])
def test_a_late_failure_changes_nothing(replica, now, status):
    lose(replica, now)
    before = work.everything()

    assert work.take(work.report_of(replica, status=status, answers=[])) == []

    assert work.everything() == before


def test_a_late_answer_is_taken_and_paid_until_the_chunk_is_final(job, replica, now):
    lose(replica, now)
    scheduling.assign_ready(now=now)
    work.take(*map(work.report_of, work.leased(job)))

    (decision,) = work.take(work.report_of(replica))

    replica.refresh_from_db()
    assert (decision.action, replica.state) == ("accept", "accepted")
    assert work.unsound() == []


def test_an_answer_after_the_end_changes_nothing(job, replica, now):
    lose(replica, now)
    scheduling.assign_ready(now=now)
    work.take(*map(work.report_of, work.leased(job)))
    finality.settle(now=now + timedelta(days=8))
    assert job.chunks.get().state == "final"
    before = work.everything()

    assert work.take(work.report_of(replica)) == []

    assert work.everything() == before


def test_an_answer_after_the_job_was_cancelled_changes_nothing(job, replica, now):
    jobs.cancel(job_id=job.pk, now=now)
    before = work.everything()

    assert work.take(work.report_of(replica)) == []

    assert work.everything() == before


def test_one_batch_serves_many_chunks(client_user, now):
    job = work.start(client_user, factories.make_fleet(2, slots=4), images=4)

    decisions = work.take(*map(work.report_of, work.leased(job)))

    assert [decision.action for decision in decisions] == ["accept"] * 4
    job.refresh_from_db()
    assert (job.state, job.items_provisional) == ("finished", 4)
