"""Messages leave after commit; one that cannot leave never harms what was committed."""

from __future__ import annotations

import pytest
from django.db import transaction

from tasks import dispatch


def test_each_message_waits_for_the_commit(db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        dispatch.announce(job_id="job_1")
        dispatch.assign(replica_ids=[1, 2])
        dispatch.withdraw(replica_ids=[3])
        dispatch.schedule(job_ids=["job_1"])
        dispatch.sweep()

    assert [(call.func.__name__, call.keywords) for call in callbacks] == [
        ("send_announcement", {"job_id": "job_1"}),
        ("send_assignments", {"replica_ids": [1, 2]}),
        ("send_withdrawals", {"replica_ids": [3]}),
        ("send_work", {"name": "tasks.schedule", "arguments": {"job_ids": ["job_1"]}}),
        ("send_work", {"name": "tasks.sweep", "arguments": {}}),
    ]


def test_nobody_is_told_about_nothing(db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        dispatch.assign(replica_ids=[])
        dispatch.withdraw(replica_ids=[])

    assert callbacks == []


def test_nothing_leaves_when_the_transaction_is_undone(db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        dispatch.sweep()
        transaction.set_rollback(True)

    assert callbacks == []


@pytest.mark.django_db(transaction=True)
def test_a_message_that_cannot_leave_is_logged_and_goes_no_further(caplog):
    with transaction.atomic():
        dispatch.announce(job_id="job_that_is_gone")

    assert "Error calling send_announcement in on_commit()" in caplog.text
