"""Answers believed alone are computed again by lot, and what comes of it."""

from __future__ import annotations

import pytest

from payments.models import Transfer
from tasks import scheduling
from tasks.models import Strike
from tasks.verification import audits, verdicts
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

pytestmark = [pytest.mark.django_db, pytest.mark.lots]
CHUNKS = range(10_000)


@pytest.fixture
def nodes():
    return factories.make_fleet(8, slots=2)


@pytest.fixture
def drawn(client_user, nodes, settings):
    """A chunk accepted on one word, which the lot fell on, and its audit at work."""
    job = trust.accepted_alone(client_user, nodes)
    trust.draw(settings, job.chunks.get())
    verdicts.advance(chunk_id=job.chunks.get().pk, now=trust.NOW)
    scheduling.assign_ready(now=trust.NOW)
    return job


@pytest.mark.parametrize(("checks", "expected"), [(99, 0.05), (100, 0.02)])
def test_the_lot_falls_on_about_the_share(settings, checks, expected):
    settings.SECRET_KEY = "fixed"

    share = sum(audits.is_drawn(chunk_id=pk, checks=checks) for pk in CHUNKS) / len(CHUNKS)

    assert share == pytest.approx(expected, rel=0.15)


def test_it_falls_the_same_way_each_time_and_for_a_better_node_never_more_often(settings):
    settings.SECRET_KEY = "fixed"
    new = {pk for pk in CHUNKS if audits.is_drawn(chunk_id=pk, checks=0)}

    known = {pk for pk in CHUNKS if audits.is_drawn(chunk_id=pk, checks=500)}

    assert known < new
    assert new == {pk for pk in CHUNKS if audits.is_drawn(chunk_id=pk, checks=0)}


def test_another_secret_draws_others(settings):
    settings.SECRET_KEY = "one"
    first = {pk for pk in CHUNKS if audits.is_drawn(chunk_id=pk, checks=0)}
    settings.SECRET_KEY = "two"

    assert {pk for pk in CHUNKS if audits.is_drawn(chunk_id=pk, checks=0)} != first


def test_the_client_has_the_result_while_another_owner_computes_it_again(drawn):
    (audit,) = work.leased(drawn)
    chunk = drawn.chunks.get()

    assert (audit.purpose, chunk.state, chunk.reason) == ("audit", "provisional", "")
    assert (chunk.granted, chunk.wanted) == (2, 2)
    assert (drawn.state, drawn.items_provisional) == ("finished", 1)


def test_an_audit_that_agrees_is_a_check_for_both_and_the_reserve_pays_it(drawn, nodes):
    (audit,) = work.leased(drawn)

    work.take(work.report_of(audit))

    drawn.refresh_from_db()
    assert (drawn.audits, drawn.audits_failed, drawn.corrections) == (1, 0, 0)
    assert trust.record(nodes[0], drawn).checks_tenths == 510
    assert trust.record(audit.node, drawn).checks_tenths == 10
    assert trust.reward(audit) == "pending"
    paid = Transfer.objects.get(kind="reward", ref_id=str(audit.pk))
    assert paid.debit.kind == "platform_reserve"
    assert work.unsound() == []


def test_deciding_again_credits_nobody_again(drawn, nodes, now):
    work.take(*map(work.report_of, work.leased(drawn)))
    before = work.everything()

    verdicts.advance(chunk_id=drawn.chunks.get().pk, now=now)

    assert work.everything() == before


def test_an_audit_that_differs_puts_the_result_in_question(drawn):
    (audit,) = work.leased(drawn)

    work.take(work.report_of(audit, work.ELSEWHERE))

    chunk = drawn.chunks.get()
    assert (chunk.state, chunk.reason, chunk.purpose) == ("provisional", "rechecking", "recheck")
    assert drawn.items.get().detections[0]["box"] == [10.0, 10.0, 20.0, 20.0]
    assert trust.reward(drawn.replicas.order_by("pk")[0]) == "frozen"
    assert trust.reward(audit) == ""
    assert not Strike.objects.exists()
    assert work.unsound() == []


def test_the_referee_decides_who_of_them_is_right(drawn, nodes, now):
    liar = drawn.replicas.order_by("pk")[0]
    (audit,) = work.leased(drawn)
    work.take(work.report_of(audit, work.ELSEWHERE))
    while scheduling.assign_ready(now=now):
        work.take(*(work.report_of(row, work.ELSEWHERE) for row in work.leased(drawn)))
    assert drawn.items.get().detections[0]["box"] == [10.0, 10.0, 20.0, 20.0]

    work.referee_says(drawn.chunks.get(), work.ELSEWHERE)

    drawn.refresh_from_db()
    assert (drawn.audits, drawn.audits_failed, drawn.corrections) == (1, 1, 1)
    assert drawn.items.get().detections[0]["box"] == [30.0, 10.0, 20.0, 20.0]
    liar.refresh_from_db()
    assert (liar.state, liar.reason, trust.reward(liar)) == ("rejected", "overturned", "voided")
    strike = Strike.objects.get()
    assert (strike.replica_id, strike.cause) == (liar.pk, "audit")
    assert trust.record(nodes[0], drawn).checks_tenths == 0
    assert trust.reward(audit) == "pending"
    assert work.unsound() == []


def test_the_referee_clears_who_was_accused(drawn, nodes):
    (audit,) = work.leased(drawn)
    work.take(work.report_of(audit, work.ELSEWHERE))
    chunk = drawn.chunks.get()
    type(chunk).objects.filter(pk=chunk.pk).update(referee_asked_at=trust.NOW)

    work.referee_says(chunk, work.FOUND)

    drawn.refresh_from_db()
    assert (drawn.audits, drawn.audits_failed, drawn.corrections) == (1, 0, 0)
    assert trust.reward(drawn.replicas.order_by("pk")[0]) == "pending"
    assert Strike.objects.get().replica_id == audit.pk
    assert trust.record(nodes[0], drawn).checks_tenths == 510
    assert work.unsound() == []


def test_what_several_agree_on_is_not_audited(client_user, settings):
    job = work.start(client_user, factories.make_fleet(3), target_error="1e-3")
    trust.draw(settings, job.chunks.get(), checks=0)

    work.take(*map(work.report_of, work.leased(job)))

    chunk = job.chunks.get()
    assert (chunk.state, chunk.granted, chunk.wanted) == ("provisional", 3, 3)
