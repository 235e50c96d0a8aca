"""`Idempotency-Key`."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from portal.models import IdempotencyRecord
from tasks import datasets
from tasks.models import Dataset, EnrollmentToken, Job
from tests import factories
from tests.portal.api import calls

BODY = {"name": "photos"}


def test_the_same_request_again_is_done_once_and_answered_alike(client_api):
    first = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    again = calls.post(client_api, "datasets/", '{ "name":"photos" }', Idempotency_Key="k1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Content-Type"] == "application/json"
    assert Dataset.objects.count() == 1


def test_another_body_under_the_same_key_is_refused(client_api):
    calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")

    response = calls.post(client_api, "datasets/", {"name": "other"}, Idempotency_Key="k1")

    calls.refused(response, 409, "idempotency_key_reused")
    assert [dataset.name for dataset in Dataset.objects.all()] == ["photos"]


def test_another_address_under_the_same_key_is_refused(client_api, client_user):
    job = factories.make_job(client_user)
    calls.post(client_api, f"jobs/{job.pk}/pause/", Idempotency_Key="k1")

    response = calls.post(client_api, f"jobs/{job.pk}/cancel/", Idempotency_Key="k1")

    calls.refused(response, 409, "idempotency_key_reused")
    assert Job.objects.get(pk=job.pk).state == "paused"


def test_two_users_do_not_share_keys(client_api, stranger_api):
    first = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    second = calls.post(stranger_api, "datasets/", BODY, Idempotency_Key="k1")

    assert first.json()["id"] != second.json()["id"]


def test_a_refusal_is_repeated_too(client_api, client_user, job_body):
    first = calls.post(client_api, "jobs/", job_body, Idempotency_Key="k1")
    factories.fund(client_user)
    again = calls.post(client_api, "jobs/", job_body, Idempotency_Key="k1")

    calls.refused(first, 402, "insufficient_funds")
    calls.refused(again, 402, "insufficient_funds")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Job.objects.count() == 0


def test_a_job_is_bought_once(client_api, client_user, job_body):
    factories.fund(client_user)

    first = calls.post(client_api, "jobs/", job_body, Idempotency_Key="k1")
    again = calls.post(client_api, "jobs/", job_body, Idempotency_Key="k1")

    assert first.status_code == 201
    assert again.content == first.content
    assert Job.objects.count() == 1


def test_secrets_are_kept_encrypted(operator_api):
    first = calls.post(operator_api, "nodes/enrollments/", Idempotency_Key="k1")
    again = calls.post(operator_api, "nodes/enrollments/", Idempotency_Key="k1")

    assert again.json() == first.json()
    assert EnrollmentToken.objects.count() == 1
    assert first.json()["token"] not in str(IdempotencyRecord.objects.values().get())


@pytest.mark.parametrize("key", ["", "with space", "x" * 201, "tab\t", "é"])
def test_keys_that_are_no_keys_are_refused(client_api, key):
    response = calls.post(client_api, "datasets/", BODY, Idempotency_Key=key)

    calls.refused(response, 400, "idempotency_key_invalid")
    assert Dataset.objects.count() == 0
    assert IdempotencyRecord.objects.count() == 0


def test_while_the_first_runs_the_second_is_refused(client_api):
    calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    IdempotencyRecord.objects.update(status=None, body=None)

    response = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")

    calls.refused(response, 409, "idempotency_in_progress")
    assert Dataset.objects.count() == 1


def test_a_request_that_died_is_taken_over_after_a_minute(client_api):
    calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    Dataset.objects.all().delete()
    died_at = timezone.now() - timedelta(seconds=61)
    IdempotencyRecord.objects.update(status=None, body=None, created_at=died_at)

    taken = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    again = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")

    assert taken.status_code == 201
    assert "Idempotent-Replayed" not in taken.headers
    assert again.content == taken.content
    assert Dataset.objects.count() == 1


def test_a_failure_on_our_side_gives_the_key_back(client_api, monkeypatch):
    create = datasets.create

    def fail(**_kwargs: object) -> None:
        raise RuntimeError("down")

    client_api.raise_request_exception = False
    monkeypatch.setattr(datasets, "create", fail)
    first = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    monkeypatch.setattr(datasets, "create", create)
    again = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")

    calls.refused(first, 500, "server_error")
    assert again.status_code == 201
    assert Dataset.objects.count() == 1


def test_answers_are_forgotten_after_a_day(client_api):
    first = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))

    again = calls.post(client_api, "datasets/", BODY, Idempotency_Key="k1")

    assert again.json()["id"] != first.json()["id"]
    assert IdempotencyRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_one_is_done(model):
    user = factories.make_user("client")
    factories.fund(user)
    body = {"kind": "detect", "dataset": factories.make_dataset(user).pk, "model": model.pk}
    clients = [calls.key_client(user) for _ in range(8)]
    gate, answers = threading.Barrier(8), []

    def submit(client) -> None:
        gate.wait()
        answers.append(calls.post(client, "jobs/", body, Idempotency_Key="k1"))
        connection.close()

    threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Job.objects.count() == 1
    made = [answer for answer in answers if answer.status_code == 201]
    assert {answer.json()["id"] for answer in made} == {Job.objects.get().pk}
    refusals = [answer for answer in answers if answer.status_code != 201]
    for answer in refusals:
        calls.refused(answer, 409, "idempotency_in_progress")
    assert len([answer for answer in made if "Idempotent-Replayed" not in answer.headers]) == 1
