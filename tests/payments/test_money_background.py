"""The Celery entry points, called in process."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import current_app

from payments import background
from payments.models import Transfer


def test_the_poster_posts_and_ignores_arguments_of_later_versions(held_job, record):
    record("r1")

    background.post_intents(batch="big")

    assert Transfer.objects.filter(ref_id="r1").count() == 2


def test_rewards_mature_by_the_clock(held_job, record):
    record("r1", due_at=datetime(2000, 1, 1, tzinfo=UTC))
    record("r2", due_at=datetime(2999, 1, 1, tzinfo=UTC))
    background.post_intents()

    background.mature(why="sweep")

    matured = Transfer.objects.filter(kind="mature").values_list("ref_id", flat=True)
    assert list(matured) == ["r1"]


def test_both_are_known_by_name_and_keep_no_result():
    for name in ("payments.post_intents", "payments.mature"):
        assert current_app.tasks[name].ignore_result is True
        assert current_app.tasks[name].acks_late is True
