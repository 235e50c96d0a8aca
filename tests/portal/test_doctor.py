"""`manage.py doctor`: one line per check, exit code 1 when one does not hold."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.utils import timezone

from payments import ledger
from payments.models import LedgerAccount
from tasks.models import Chunk, Item
from tests import factories
from tests.tasks import work

CHECKS = [
    "debits_equal_credits",
    "balances_match_transfers",
    "floors_hold",
    "intents_are_posted",
    "posted_intents_have_transfers",
    "stopped_rewards_stay",
    "pending_equals_rewards",
    "no_chunk_lost",
    "chunk_slots_match",
    "provisional_chunks_settle",
    "questions_are_answered",
    "questioned_are_frozen",
    "open_leases_have_nodes",
    "accepted_from_distinct_owners",
    "accepted_are_rewarded",
    "refused_are_not_rewarded",
    "strikes_are_enforced",
    "strikes_are_counted_once",
    "barred_nodes_were_struck",
    "quarantined_are_doubted",
    "provisional_items_have_results",
    "final_items_have_results",
    "job_counters_match",
    "blobs_present",
]


def doctor() -> tuple[int, list[str]]:
    """Return the exit code and the lines."""
    out = io.StringIO()
    try:
        call_command("doctor", stdout=out, no_color=True)
    except SystemExit as exit_:
        return exit_.code, out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


@pytest.fixture
def finished_job(client_user):
    """A job of this moment: the command reads the real clock, and rewards mature."""
    now = timezone.now()
    fleet = factories.make_fleet(2, last_seen_at=now)
    job = work.start(client_user, fleet, now=now)
    work.take(*map(work.report_of, work.leased(job)), now=now)
    ledger.post_intents(limit=100, now=now)
    return job


def test_after_a_real_job_every_check_is_ok(finished_job):
    code, lines = doctor()

    assert code == 0
    assert [line.split(":")[0] for line in lines] == [f"ok   {name}" for name in CHECKS]


def test_before_anything_every_check_is_ok(db):
    code, lines = doctor()

    assert (code, len(lines)) == (0, len(CHECKS))


def test_wrong_work_is_named_and_the_rest_is_still_checked(finished_job):
    Chunk.objects.update(state=Chunk.State.OPEN)

    code, lines = doctor()

    assert code == 1
    assert [line for line in lines if line.startswith("FAIL")] == [
        "FAIL no_chunk_lost: 1 open chunks in ended jobs"
    ]
    assert len(lines) == len(CHECKS)


def test_wrong_money_is_named(finished_job):
    LedgerAccount.objects.filter(code="platform:fee").update(credits_minor=10_001)

    code, lines = doctor()

    assert code == 1
    assert [line.split(":")[0] for line in lines if line.startswith("FAIL")] == [
        "FAIL debits_equal_credits",
        "FAIL balances_match_transfers",
    ]


def test_it_changes_nothing(finished_job):
    Item.objects.update(detections=None)
    before = work.everything()

    assert doctor()[0] == 1

    assert work.everything() == before
