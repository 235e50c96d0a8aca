"""The page of a job and its polling."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from portal.web import live
from tasks import jobs
from tasks.models import Job
from tests import factories
from tests.portal.web import scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet():
    return factories.make_fleet(3)


@pytest.fixture
def job(client_user, fleet) -> Job:
    return scenes.finished_job(client_user, fleet, images=3, now=timezone.now())


def test_it_shows_acks_progress_boxes_and_money(as_client, job):
    page = as_client.get(f"/jobs/{job.pk}/").content.decode()

    assert "3 nodes acknowledged, slowest 0.12 s" in page
    assert "3 of 3 pictures done" in page
    assert page.count("<circle") == 3
    assert page.count('data-score="0.9000"') == 3
    assert page.count('data-score="0.4000"') == 3
    assert 'viewBox="0 0 64 48"' in page
    assert 'x="4.0" y="5.0" width="20.0" height="30.0"' in page
    assert "Finished; the rest of the money is back." in page


def test_who_is_left_out_for_the_account_is_led_to_it(as_client, client_user):
    job = factories.make_job(client_user)
    Job.objects.filter(pk=job.pk).update(reason="category_excluded")

    page = as_client.get(f"/jobs/{job.pk}/").content.decode()

    assert "do not work for clients of your category." in page
    assert '<a href="/account/">What your account is for</a>' in page


def test_a_poll_with_the_newest_stamp_answers_204(as_client, job):
    stamp = as_client.get(f"/jobs/{job.pk}/").context["stamp"]

    answer = as_client.get(f"/jobs/{job.pk}/live/?v={stamp}")

    assert answer.status_code == 204
    assert answer.content == b""


def test_a_poll_with_an_old_stamp_answers_what_changes(as_client, job):
    answer = as_client.get(f"/jobs/{job.pk}/live/?v=0-0-0")
    parts = answer.content.decode()

    assert answer.status_code == 200
    assert "<html" not in parts
    assert parts.count('hx-swap-oob="true"') == 4
    assert f'hx-get="/jobs/{job.pk}/live/?v={answer.context["stamp"]}"' in parts


def test_the_page_stops_asking_when_the_job_has_settled(as_client, job):
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - live.SETTLING * 2)
    stamp = as_client.get(f"/jobs/{job.pk}/").context["stamp"]

    answer = as_client.get(f"/jobs/{job.pk}/live/?v={stamp}")

    assert answer.status_code == 200
    assert b"hx-trigger" not in answer.content


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (timedelta(), 1),
        (timedelta(seconds=20), 2),
        (timedelta(minutes=3), 5),
        (timedelta(hours=2), 15),
    ],
)
def test_an_older_job_is_asked_about_less_often(client_user, now, age, seconds):
    job = factories.make_job(client_user, now=now)

    assert live.pace_seconds(job, now=now + age) == seconds


def test_a_reason_for_waiting_stands_in_words(as_client, client_user):
    job = factories.make_job(client_user)
    Job.objects.filter(pk=job.pk).update(reason="no_capable_nodes")

    page = as_client.get(f"/jobs/{job.pk}/").content.decode()

    assert "No node that can do this has answered yet." in page


def test_pause_and_resume_change_the_job_and_come_back_to_it(as_client, client_user):
    job = factories.make_job(client_user)

    first = as_client.post(f"/jobs/{job.pk}/pause/")
    assert (first.status_code, first["Location"]) == (302, f"/jobs/{job.pk}/")
    assert Job.objects.get(pk=job.pk).state == Job.State.PAUSED

    as_client.post(f"/jobs/{job.pk}/resume/")
    assert Job.objects.get(pk=job.pk).state == Job.State.QUEUED


def test_a_get_never_steers(as_client, client_user):
    job = factories.make_job(client_user)

    assert as_client.get(f"/jobs/{job.pk}/pause/").status_code == 405
    assert as_client.get(f"/jobs/{job.pk}/cancel/").status_code == 200
    assert Job.objects.get(pk=job.pk).state == Job.State.QUEUED


def test_cancelling_is_asked_about_as_a_dialog_or_as_a_page(as_client, client_user):
    job = factories.make_job(client_user)
    path = f"/jobs/{job.pk}/cancel/"

    page = as_client.get(path).content.decode()
    dialog = as_client.get(path, headers={"HX-Request": "true"}).content.decode()

    assert "Cancel this job?" in page
    assert "<html" in page
    assert "Cancel this job?" in dialog
    assert "<html" not in dialog


def test_cancelling_twice_tells_why_not(as_client, client_user):
    job = factories.make_job(client_user)
    jobs.cancel(job_id=job.pk, now=factories.NOW)
    version = Job.objects.get(pk=job.pk).version

    page = as_client.post(f"/jobs/{job.pk}/cancel/", follow=True).content.decode()

    assert "The job is cancelled." in page
    assert Job.objects.get(pk=job.pk).version == version


@pytest.mark.parametrize(
    ("form", "kind", "ending", "persons"),
    [
        ("jsonl", "application/x-ndjson", "jsonl", 3),
        ("coco", "application/json", "coco.json", 1),
        ("csv", "text/csv; charset=utf-8", "csv", 3),
    ],
)
def test_results_are_downloads(as_client, job, form, kind, ending, persons):
    answer = as_client.get(f"/jobs/{job.pk}/results.{form}")
    text = b"".join(answer.streaming_content).decode()

    assert answer["Content-Type"] == kind
    assert answer["Content-Disposition"] == f'attachment; filename="{job.pk}.{ending}"'
    assert text.count("person") == persons


def test_an_unknown_form_of_results_is_not_found(as_client, job):
    assert as_client.get(f"/jobs/{job.pk}/results.exe").status_code == 404
