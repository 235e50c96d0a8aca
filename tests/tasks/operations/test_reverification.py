"""Accepted results are computed again because staff want it, by another owner or the referee."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import scheduling, sweeps
from tasks.models import Chunk, Job, Node, StaffAction, Strike
from tasks.operations import reverification
from tasks.verification import finality, verdicts
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def nodes():
    return factories.make_fleet(5, slots=4)


@pytest.fixture
def job(client_user, nodes) -> Job:
    """Two chunks, accepted on the word of the first node."""
    return trust.accepted_alone(client_user, nodes, images=2)


def ask(job, staff, *, by="owner", chunk=None, now=work.NOW) -> reverification.Asked:
    return reverification.reverify(
        job_id=job.pk, chunk_index=chunk, by=by, staff_id=staff.pk, note="Odd.", now=now
    )


def test_another_owner_computes_each_accepted_chunk_again(job, nodes, staff, now):
    asked = ask(job, staff)

    assert (asked.chunks, asked.is_more_left) == (2, False)
    chunks = job.chunks.values_list("state", "reason", "granted", "wanted", "purpose")
    assert set(chunks) == {("provisional", "", 1, 2, "audit")}
    scheduling.assign_ready(now=now)
    audits = work.leased(job)
    assert [row.purpose for row in audits] == ["audit", "audit"]
    assert nodes[0].pk not in {row.node_id for row in audits}
    work.take(*map(work.report_of, audits))
    job.refresh_from_db()
    assert (job.audits, job.corrections) == (2, 0)
    assert set(job.chunks.values_list("granted", "wanted")) == {(2, 2)}
    assert {trust.reward(row) for row in job.replicas.all()} == {"pending"}
    assert work.unsound() == []


def test_a_difference_goes_to_the_referee_whose_word_corrects_and_strikes(job, nodes, staff, now):
    ask(job, staff, chunk=0)
    scheduling.assign_ready(now=now)
    (audit,) = work.leased(job)

    work.take(work.report_of(audit, work.ELSEWHERE))
    assert job.chunks.get(index=0).reason == "rechecking"
    Node.objects.update(reason="battery")
    sweeps.sweep(now=now + 8 * DAY)
    work.referee_says(audit.chunk, work.ELSEWHERE, now=now + 8 * DAY)

    job.refresh_from_db()
    assert (job.corrections, job.audits_failed, job.disagreements) == (1, 1, 1)
    assert Strike.objects.get().node_id == nodes[0].pk
    assert work.unsound() == []


def test_one_chunk_alone(job, staff):
    ask(job, staff, chunk=1)

    assert list(job.chunks.order_by("index").values_list("owners_wanted", flat=True)) == [0, 2]


def test_deciding_again_keeps_what_staff_want(job, staff, now):
    ask(job, staff)
    before = work.everything()

    for chunk in job.chunks.all():
        verdicts.advance(chunk_id=chunk.pk, now=now)

    assert work.everything() == before


def test_asking_twice_asks_once(job, staff):
    ask(job, staff)
    before = work.everything()

    with pytest.raises(reverification.NothingToVerify):
        ask(job, staff)

    assert work.everything() == before


def test_a_result_does_not_become_final_before_it_was_verified(job, staff, now):
    ask(job, staff, chunk=0)
    Node.objects.update(reason="battery")

    assert finality.settle(now=now + 8 * DAY) == 1

    assert list(job.chunks.order_by("index").values_list("state", flat=True)) == [
        "provisional",
        "final",
    ]
    first = job.chunks.get(index=0)
    assert first.settles_at == now + 8 * DAY + finality.AGAIN_AFTER


def test_where_no_other_owner_comes_the_referee_decides(job, staff, now):
    ask(job, staff, chunk=0)
    Node.objects.update(reason="battery")

    sweeps.sweep(now=now + 8 * DAY)

    first = job.chunks.get(index=0)
    assert (first.referee_asked_at, first.reason) == (now + 8 * DAY, "rechecking")
    work.referee_says(first, work.FOUND, now=now + 8 * DAY)
    finality.settle(now=now + 16 * DAY)
    assert set(job.chunks.values_list("state", flat=True)) == {"final"}
    assert work.unsound() == []


def test_where_the_referee_cannot_tell_the_result_stands(job, staff, now):
    ask(job, staff, chunk=0)
    Node.objects.update(reason="battery")
    sweeps.sweep(now=now + 8 * DAY)

    work.referee_says(job.chunks.get(index=0), error="model_died", now=now + 8 * DAY)
    finality.settle(now=now + 16 * DAY)

    assert set(job.chunks.values_list("state", flat=True)) == {"final"}
    assert {trust.reward(row) for row in job.replicas.all()} == {"pending"}


def test_the_referee_is_asked_at_once(job, staff, now):
    asked = ask(job, staff, by="referee")

    assert asked.chunks == 2
    assert set(job.chunks.values_list("referee_asked_at", "wanted", "reason")) == {(now, 1, "")}
    for chunk in job.chunks.all():
        work.referee_says(chunk, work.FOUND)
    assert set(job.chunks.values_list("state", "reason")) == {("provisional", "")}
    with pytest.raises(reverification.NothingToVerify):
        ask(job, staff, by="owner")
    assert work.unsound() == []


def test_a_race_is_judged_by_the_referee(client_user, nodes, staff, now):
    job = work.start(client_user, nodes, mode="race")
    work.take(work.report_of(work.leased(job)[0]))

    ask(job, staff)

    chunk = job.chunks.get()
    assert (chunk.state, chunk.referee_asked_at, chunk.owners_wanted) == ("provisional", now, 0)


def test_what_is_open_final_or_of_no_chunk_is_refused(client_user, job, staff):
    fresh = factories.make_job(client_user)
    Chunk.objects.filter(job=job, index=0).update(state=Chunk.State.FINAL)
    before = work.everything()

    with pytest.raises(reverification.NothingToVerify):
        ask(fresh, staff)
    with pytest.raises(reverification.NothingToVerify):
        ask(job, staff, chunk=0)
    with pytest.raises(reverification.UnknownChunk):
        ask(job, staff, chunk=7)

    assert work.everything() == before


def test_many_chunks_are_asked_about_in_several_calls(job, staff, monkeypatch):
    monkeypatch.setattr(reverification, "CHUNKS_MAX", 1)

    first, second = ask(job, staff), ask(job, staff)

    assert (first.chunks, first.is_more_left) == (1, True)
    assert (second.chunks, second.is_more_left) == (1, False)
    assert [(row.verb, row.target, row.note, row.detail) for row in StaffAction.objects.all()] == [
        ("reverify", job.pk, "Odd.", {"by": "owner", "chunks": 1, "chunk": None})
    ] * 2


def test_a_verified_answer_whose_node_is_caught_later_wants_another(job, nodes, staff, now):
    ask(job, staff, chunk=0)
    scheduling.assign_ready(now=now)
    work.take(*map(work.report_of, work.leased(job)))

    trust.catch(job.replicas.get(chunk__index=0, node=nodes[0]))

    chunk = job.chunks.get(index=0)
    assert chunk.wanted > chunk.granted
    assert work.unsound() == []


@pytest.mark.django_db(transaction=True)
def test_side_by_side_it_is_asked_once(side_by_side, now):
    staff = factories.make_user("staff")
    job = trust.accepted_alone(factories.make_user(), factories.make_fleet(4, slots=4), images=3)

    answers = side_by_side(*[lambda: ask(job, staff)] * 3, lambda: scheduling.assign_ready(now=now))

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [type(answer) for answer in refused] == [reverification.NothingToVerify] * 2
    assert set(job.chunks.values_list("owners_wanted", flat=True)) == {2}
    assert StaffAction.objects.count() == 1
    assert work.unsound() == []
