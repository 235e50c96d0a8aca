"""Schedulers take turns: one works, one waits, the rest leave it to the one that waits."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection, transaction

from tasks import scheduling, turns
from tasks.models import Replica
from tests import factories

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite knows no such locks"),
]
SECONDS_MAX = 20


def waits_for(*, turn: turns.Turn) -> bool:
    """Say whether a connection waits for the turn."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
            " AND objid = %s AND NOT granted",
            [turns.SPACE, turn],
        )
        return bool(cursor.fetchone()[0])


class Scheduler(threading.Thread):
    """Takes a turn in a connection of its own, and keeps it until told to leave."""

    def __init__(self, *, may_skip: bool) -> None:
        super().__init__()
        self.may_skip = may_skip
        self.is_ours: bool | None = None
        self.has_begun, self.leave = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            with turns.schedule(may_skip=self.may_skip) as self.is_ours:
                self.has_begun.set()
                self.leave.wait(SECONDS_MAX)
        finally:
            connection.close()


@pytest.fixture
def begin():
    """Start schedulers; at the end all of them have left."""
    begun: list[Scheduler] = []

    def start(*, may_skip: bool = True) -> Scheduler:
        begun.append(Scheduler(may_skip=may_skip))
        begun[-1].start()
        return begun[-1]

    yield start
    for each in begun:
        each.leave.set()
        each.join(SECONDS_MAX)
        assert not each.is_alive()


def until(condition) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_one_works_one_waits_and_a_third_leaves_it_to_that(begin, monkeypatch):
    monkeypatch.setattr(turns, "WAIT_MS_MAX", 1000 * SECONDS_MAX)
    first = begin()
    assert first.has_begun.wait(SECONDS_MAX)
    second = begin()
    until(lambda: waits_for(turn=turns.Turn.SCHEDULE))

    with turns.schedule(may_skip=True) as is_ours:
        assert not is_ours
    assert not second.has_begun.is_set()
    first.leave.set()

    assert second.has_begun.wait(SECONDS_MAX)
    assert (first.is_ours, second.is_ours) == (True, True)


def test_who_looks_at_one_job_only_always_gets_a_turn(begin, monkeypatch):
    monkeypatch.setattr(turns, "WAIT_MS_MAX", 1000 * SECONDS_MAX)
    first = begin()
    assert first.has_begun.wait(SECONDS_MAX)
    second = begin()
    until(lambda: waits_for(turn=turns.Turn.SCHEDULE))
    third = begin(may_skip=False)
    first.leave.set()
    second.leave.set()

    assert third.has_begun.wait(SECONDS_MAX)
    assert third.is_ours


def test_who_waited_too_long_goes_ahead(begin, monkeypatch):
    monkeypatch.setattr(turns, "WAIT_MS_MAX", 20)
    first = begin()
    assert first.has_begun.wait(SECONDS_MAX)

    with turns.schedule(may_skip=True) as is_ours:
        assert is_ours
    first.leave.set()
    first.join(SECONDS_MAX)

    again = begin()
    assert again.has_begun.wait(SECONDS_MAX)
    assert again.is_ours


def test_an_error_gives_the_turn_back(begin):
    with pytest.raises(RuntimeError, match="inside"), turns.schedule(may_skip=True):
        raise RuntimeError("inside")

    after = begin()

    assert after.has_begun.wait(SECONDS_MAX)


def test_without_turns_a_chunk_is_given_out_once_all_the_same(
    client_user, now, side_by_side, monkeypatch
):
    monkeypatch.setattr(turns, "WAIT_MS_MAX", 1)
    fleet = factories.make_fleet(4, slots=4)
    job = factories.make_job(client_user, images=8)
    factories.announce(job, nodes=fleet)

    def assign() -> None:
        with transaction.atomic():
            pass  # a connection of its own, opened before all begin
        scheduling.assign_ready(now=now, job_ids=[job.pk])

    answers = side_by_side(assign, assign, assign, assign)

    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    held = Replica.objects.filter(state=Replica.State.LEASED)
    assert held.count() == 16
    assert held.values("chunk", "operator").distinct().count() == 16
    assert {node.pk: node.replicas.count() for node in fleet} == {node.pk: 4 for node in fleet}
