"""A node in quarantine is not believed, without a strike, until staff lift it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tasks import errors, node_views, records, scheduling
from tasks.models import Chunk, Credibility, Node, Replica, StaffAction, Strike
from tasks.operations import quarantines
from tasks.verification import faults, strikes
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def nodes():
    return factories.make_fleet(5, slots=4)


@pytest.fixture
def job(client_user, nodes):
    """Two chunks, accepted on the word of the first node."""
    return trust.accepted_alone(client_user, nodes, images=2)


@pytest.fixture(params=["one model", "all models"])
def scope(request, job) -> str | None:
    return job.model_id if request.param == "one model" else None


def impose(node: Node, staff, model_id=None, *, now=work.NOW) -> int:
    return quarantines.impose(
        node_id=node.pk, model_id=model_id, staff_id=staff.pk, note="Odd boxes.", now=now
    )


def lift(node: Node, staff, model_id=None, *, now=work.NOW) -> int:
    return quarantines.lift(node_id=node.pk, model_id=model_id, staff_id=staff.pk, now=now)


def test_its_unsettled_answers_are_computed_again_without_a_strike(job, nodes, staff, scope, now):
    assert impose(nodes[0], staff, scope) == 2

    for replica in job.replicas.select_related("chunk"):
        assert (replica.state, replica.doubted_at) == ("accepted", now)
        chunk = replica.chunk
        assert (chunk.state, chunk.reason, chunk.purpose) == (
            "provisional",
            "rechecking",
            "recheck",
        )
        assert (chunk.granted, chunk.wanted, chunk.stirred_at) == (1, 4, None)
        assert trust.reward(replica) == "frozen"
    known = trust.record(nodes[0], job)
    assert (known.state, known.checks_tenths, known.strikes) == ("trusted", 500, 0)
    assert Strike.objects.count() == 0
    assert work.unsound() == []


def recheck(job, *, found=work.FOUND, now=work.NOW) -> list[Replica]:
    scheduling.assign_ready(now=now)
    rows = work.leased(job)
    work.take(*(work.report_of(row, found) for row in rows), now=now)
    return rows


def test_what_others_confirm_stands_and_earns_no_trust(job, nodes, staff, scope):
    impose(nodes[0], staff, scope)

    others = recheck(job)

    assert len(others) == 6
    mine = job.replicas.filter(node=nodes[0])
    assert {(row.state, trust.reward(row)) for row in mine} == {("accepted", "pending")}
    assert set(job.chunks.values_list("reason", flat=True)) == {""}
    assert trust.record(nodes[0], job).checks_tenths == 500
    assert work.unsound() == []


def test_what_others_refute_is_corrected_and_no_strike(job, nodes, staff, scope):
    impose(nodes[0], staff, scope)

    recheck(job, found=work.ELSEWHERE)

    mine = job.replicas.filter(node=nodes[0])
    assert {(row.state, row.reason) for row in mine} == {("rejected", "overturned")}
    job.refresh_from_db()
    assert job.corrections == 2
    assert Strike.objects.count() == 0
    assert work.unsound() == []


def test_what_it_holds_goes_to_others_and_it_gets_nothing(client_user, nodes, staff, now):
    job = work.start(client_user, nodes[:2])
    factories.announce(job, nodes=nodes[2:])

    assert impose(nodes[0], staff) == 0
    scheduling.assign_ready(now=now)

    lost = job.replicas.get(node=nodes[0])
    assert (lost.state, lost.reason) == ("lost", "node_removed")
    assert len(work.leased(job)) == 2
    assert nodes[0].pk not in {row.node_id for row in work.leased(job)}
    assert work.unsound() == []


def test_one_models_quarantine_leaves_others_alone(client_user, nodes, staff, job, now):
    other = work.start(client_user, nodes[:2])

    impose(nodes[0], staff, job.model_id)

    assert nodes[0].pk in {row.node_id for row in work.leased(other)}
    work.take(*map(work.report_of, work.leased(other)))
    assert other.replicas.get(node=nodes[0]).doubted_at is None
    again = factories.make_job(client_user, model=job.model_id)
    factories.announce(again, nodes=nodes[:2])
    scheduling.assign_ready(now=now)
    assert nodes[0].pk not in {row.node_id for row in work.leased(again)}


@pytest.mark.parametrize("for_all", [True, False])
def test_an_answer_that_comes_late_is_doubted_as_it_is_stored(
    client_user, nodes, staff, now, for_all
):
    job = work.start(client_user, nodes[:2])
    late = work.leased(job)[0]
    impose(late.node, staff, None if for_all else job.model_id)

    work.take(work.report_of(late), now=now + SECOND)

    late.refresh_from_db()
    assert (late.state, late.doubted_at) == ("reported", now)
    chunk = late.chunk
    chunk.refresh_from_db()
    assert chunk.state == "open"
    assert work.unsound() == []


def test_lifting_believes_again_what_was_doubted(job, nodes, staff, scope, now):
    impose(nodes[0], staff, scope)
    scheduling.assign_ready(now=now)
    assert len(work.leased(job)) == 6

    assert lift(nodes[0], staff, scope, now=now + SECOND) == 2

    for replica in job.replicas.filter(node=nodes[0]).select_related("chunk"):
        assert (replica.state, replica.doubted_at) == ("accepted", None)
        chunk = replica.chunk
        assert (chunk.reason, chunk.granted, chunk.wanted) == ("", 1, 1)
        assert trust.reward(replica) == "pending"
    # Who was asked meanwhile is withdrawn and paid.
    assert {(row.state, row.reason) for row in job.replicas.exclude(node=nodes[0])} == {
        ("cancelled", "not_needed")
    }
    assert Node.objects.get(pk=nodes[0].pk).quarantined_at is None
    assert trust.record(nodes[0], job).quarantined_at is None
    assert work.unsound() == []


def test_lifting_before_anybody_decided_leaves_nothing_frozen(job, nodes, staff, now):
    """The process died after the quarantine was written, before its chunks were decided."""
    impose(nodes[0], staff)
    Chunk.objects.update(reason="", rechecks=0, wanted=1, purpose="work", stirred_at=now)

    lift(nodes[0], staff, now=now)

    assert {trust.reward(row) for row in job.replicas.filter(node=nodes[0])} == {"pending"}
    assert work.unsound() == []


def test_a_process_that_dies_after_the_quarantine_leaves_the_rest_to_sweeps(job, nodes, staff, now):
    impose(nodes[0], staff)
    Chunk.objects.update(reason="", rechecks=0, wanted=1, purpose="work", stirred_at=now)

    assert strikes.look_again(now=now) == 2

    assert set(job.chunks.values_list("reason", "wanted")) == {("rechecking", 4)}
    assert work.unsound() == []


def test_a_strike_of_the_time_of_quarantine_still_speaks_against_it(job, nodes, staff, now):
    first, second = job.replicas.order_by("pk")
    impose(nodes[0], staff, now=now + SECOND)
    strike = trust.catch(first, now=now + DAY)

    assert lift(nodes[0], staff, now=now + 2 * DAY) == 0

    assert set(job.replicas.values_list("doubted_at", flat=True)) == {strike.enforced_at}
    with transaction.atomic():
        Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")
        strikes.overturn(replica_id=first.pk, now=now + 2 * DAY)
    second.refresh_from_db()
    assert second.doubted_at is None


def test_a_warning_of_the_time_of_quarantine_speaks_against_nothing(job, nodes, staff, now):
    impose(nodes[0], staff)
    first = job.replicas.order_by("pk")[0]
    faults.record(
        replicas=[first], model_id=job.model_id, cause=Strike.Cause.NEAR, now=now + SECOND
    )
    strikes.enforce(now=now + SECOND)

    assert lift(nodes[0], staff, now=now + DAY) == 2

    assert not job.replicas.exclude(doubted_at=None).exists()
    assert work.unsound() == []


def test_an_appeal_upheld_in_quarantine_ends_the_strike_and_not_the_doubt(job, nodes, staff, now):
    first, second = job.replicas.order_by("pk")
    trust.catch(first, now=now)
    impose(nodes[0], staff, now=now + SECOND)
    Replica.objects.filter(pk=first.pk).update(state="rejected", reason="gold_failed")

    with transaction.atomic():
        strikes.overturn(replica_id=first.pk, now=now + DAY)

    second.refresh_from_db()
    assert second.doubted_at == now + SECOND
    assert lift(nodes[0], staff, now=now + DAY) == 1


def test_of_two_quarantines_the_one_that_is_left_goes_on(job, nodes, staff, now):
    assert impose(nodes[0], staff, job.model_id) == 2
    assert impose(nodes[0], staff, now=now + SECOND) == 0

    assert lift(nodes[0], staff, job.model_id, now=now + DAY) == 0

    assert set(job.replicas.values_list("doubted_at", flat=True)) == {now + SECOND}
    assert lift(nodes[0], staff, now=now + DAY) == 2
    assert set(job.replicas.values_list("doubted_at", flat=True)) == {None}
    assert work.unsound() == []


def test_what_is_final_and_what_an_appeal_decided_is_left_alone(job, nodes, staff):
    final, appealed = job.replicas.order_by("pk")
    Chunk.objects.filter(pk=final.chunk_id).update(state=Chunk.State.FINAL)
    Replica.objects.filter(pk=appealed.pk).update(reason="appeal_upheld")

    assert impose(nodes[0], staff) == 0

    assert set(job.replicas.values_list("doubted_at", flat=True)) == {None}


def test_a_second_time_is_refused_and_changes_nothing(job, nodes, staff, scope, now):
    impose(nodes[0], staff, scope)
    before = work.everything()

    with pytest.raises(errors.WrongState):
        impose(nodes[0], staff, scope, now=now + SECOND)
    with pytest.raises(quarantines.UnknownModel):
        impose(nodes[0], staff, "mdl_00000000000000000000000000")

    assert work.everything() == before


def test_what_is_not_in_quarantine_is_not_lifted(job, nodes, staff, scope):
    before = work.everything()

    with pytest.raises(errors.WrongState):
        lift(nodes[0], staff, scope)

    assert work.everything() == before


def test_a_retired_node_is_not_quarantined(operator, staff):
    node = factories.make_node(operator, state=Node.State.RETIRED)

    with pytest.raises(errors.WrongState):
        impose(node, staff)

    assert StaffAction.objects.count() == 0


def test_the_operator_reads_it(job, nodes, staff, now):
    impose(nodes[0], staff, job.model_id)
    (record,) = records.of_nodes([nodes[0].pk], now=now)[nodes[0].pk]
    assert (record.state, record.staff_note, record.checks) == ("quarantined", "Odd boxes.", 50)

    impose(nodes[0], staff)

    view = node_views.of_node(Node.objects.get(pk=nodes[0].pk), now=now)
    assert (view.reason, view.staff_note) == ("quarantined", "Odd boxes.")


def test_each_act_leaves_its_line(job, nodes, staff, scope, now):
    impose(nodes[0], staff, scope)
    lift(nodes[0], staff, scope)

    assert [
        (row.verb, row.target, row.staff_id, row.note, row.detail)
        for row in StaffAction.objects.order_by("pk")
    ] == [
        (
            "quarantine",
            nodes[0].pk,
            staff.pk,
            "Odd boxes.",
            {"model": scope or "all", "answers": 2},
        ),
        ("lift", nodes[0].pk, staff.pk, "", {"model": scope or "all", "answers": 2}),
    ]


@pytest.mark.django_db(transaction=True)
def test_side_by_side_with_reports_and_verdicts_nothing_is_lost(now, side_by_side):
    staff = factories.make_user("staff")
    fleet = factories.make_fleet(4, slots=4)
    job = work.start(factories.make_user(), fleet, images=4)
    sent = [work.report_of(row) for row in work.leased(job)]

    answers = side_by_side(
        lambda: impose(fleet[0], staff),
        lambda: impose(fleet[1], staff, job.model_id),
        lambda: work.take(*sent[:4]),
        lambda: work.take(*sent[4:]),
        lambda: scheduling.assign_ready(now=now),
    )

    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    doubtful = Replica.objects.filter(
        node__in=fleet[:2], state__in=["reported", "accepted"], doubted_at=None
    )
    assert list(doubtful) == []
    assert not Replica.objects.filter(node=fleet[0], state="leased").exists()
    lift(fleet[0], staff, now=now + SECOND)
    lift(fleet[1], staff, job.model_id, now=now + SECOND)
    strikes.look_again(now=now + SECOND)
    assert Credibility.objects.filter(quarantined_at__isnull=False).count() == 0
    assert work.unsound() == []
