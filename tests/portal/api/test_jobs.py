"""`jobs/`."""

from __future__ import annotations

from payments import queries as payments_queries
from tasks.models import Ack, Job
from tests import factories
from tests.portal.api import calls


def available(user) -> int:
    return payments_queries.wallet(user.pk).available_minor


def test_a_job_is_bought_and_shown_in_the_shape_of_the_contract(client_api, client_user, job_body):
    factories.fund(client_user)

    response = calls.post(client_api, "jobs/", job_body)

    assert response.status_code == 201
    job = response.json()
    price = job["price"]
    assert job == {
        "id": job["id"],
        "kind": "detect",
        "state": "queued",
        "reason": job["reason"],
        "reason_text": job["reason_text"],
        "dataset": job_body["dataset"],
        "model": job_body["model"],
        "target_error": "1e-2",
        "score_threshold": 0.4,
        "mode": "normal",
        "client_category": "undeclared",
        "metadata": {"order": "7"},
        "progress": {"items": 2, "provisional": 0, "final": 0, "failed": 0},
        "acks": {"count": 0, "slowest_ms": None},
        "timing": {
            "submitted_at": job["timing"]["submitted_at"],
            "first_ack_ms": None,
            "first_result_ms": None,
            "finished_at": None,
            "settles_at": None,
        },
        "asset": "PI",
        "price": price,
        "spent": "0.0000000",
        "held": price,
        "replicas": 0,
        "checks": {"gold": 0, "audits": 0, "referee": 0, "disagreements": 0},
    }
    assert job["timing"]["submitted_at"].endswith("Z")
    assert calls.get(client_api, f"jobs/{job['id']}/").json() == job
    quote = calls.post(client_api, "quotes/", job_body).json()
    assert quote["price"] == price


def test_a_job_carries_what_the_account_was_for_when_it_was_bought(
    client_api, client_user, job_body
):
    factories.fund(client_user)
    calls.patch(client_api, "me/", {"client_category": "nonprofit"})
    job = calls.post(client_api, "jobs/", job_body).json()
    calls.patch(client_api, "me/", {"client_category": "commercial"})

    assert calls.get(client_api, f"jobs/{job['id']}/").json()["client_category"] == "nonprofit"


def test_jobs_are_listed_newest_first(client_api, client_user):
    first = factories.make_job(client_user)
    second = factories.make_job(client_user, now=factories.NOW.replace(hour=13))

    results = calls.get(client_api, "jobs/").json()["results"]

    assert [job["id"] for job in results] == [second.pk, first.pk]
    assert results[0].keys() == {
        "id", "kind", "state", "reason", "dataset", "model", "progress", "asset", "price",
        "submitted_at", "finished_at",
    }  # fmt: skip


def test_without_money_nothing_is_bought(client_api, client_user, job_body):
    calls.refused(calls.post(client_api, "jobs/", job_body), 402, "insufficient_funds")
    assert Job.objects.count() == 0


def test_a_price_above_the_maximum_is_refused(client_api, client_user, job_body):
    factories.fund(client_user, 10**7)

    response = calls.post(client_api, "jobs/", {**job_body, "max_price": "0.0000001"})

    calls.refused(
        response, 422, "max_price_too_small", fields=[("max_price", "max_price_too_small")]
    )
    assert Job.objects.count() == 0
    assert available(client_user) == 10**7


def test_a_price_equal_to_the_maximum_is_taken(client_api, client_user, job_body):
    factories.fund(client_user)
    price = calls.post(client_api, "quotes/", job_body).json()["price"]

    response = calls.post(client_api, "jobs/", {**job_body, "max_price": price})

    assert response.status_code == 201


def test_an_unknown_model_and_an_empty_data_set_are_refused(client_api, client_user, job_body):
    factories.fund(client_user, 10**7)
    empty = factories.make_dataset(client_user, images=0)

    unknown = calls.post(client_api, "jobs/", {**job_body, "model": "mdl_x"})
    nothing = calls.post(client_api, "jobs/", {**job_body, "dataset": empty.pk})

    calls.refused(unknown, 422, "unknown_model", fields=[("model", "unknown_model")])
    calls.refused(nothing, 422, "empty_dataset", fields=[("dataset", "empty_dataset")])
    assert Job.objects.count() == 0
    assert available(client_user) == 10**7


def test_what_is_not_offered_yet_buys_nothing(client_api, client_user, job_body):
    factories.fund(client_user, 10**7)

    response = calls.post(client_api, "jobs/", {**job_body, "webhook": "https://a.example"})

    calls.refused(response, 422, "not_offered_yet", fields=[("webhook", "not_offered_yet")])
    assert Job.objects.count() == 0
    assert available(client_user) == 10**7


def test_an_operator_cannot_buy(operator_api, operator, job_body):
    factories.fund(operator, 10**7)

    calls.refused(calls.post(operator_api, "jobs/", job_body), 403, "role_missing")
    assert Job.objects.count() == 0
    assert available(operator) == 10**7


def test_a_job_is_paused_resumed_and_cancelled(client_api, client_user):
    job = factories.make_job(client_user)

    states = [
        calls.post(client_api, f"jobs/{job.pk}/{verb}/").json()["state"]
        for verb in ("pause", "resume", "cancel")
    ]

    assert states == ["paused", "queued", "cancelled"]
    shown = calls.get(client_api, f"jobs/{job.pk}/").json()
    assert (shown["held"], shown["spent"]) == ("0.0000000", "0.0000000")
    assert available(client_user) == 100 * 10**7


def test_steering_a_job_that_is_over_is_refused_with_its_state(client_api, client_user):
    job = factories.make_job(client_user)
    calls.post(client_api, f"jobs/{job.pk}/cancel/")
    before = Job.objects.values().get(pk=job.pk)

    for verb in ("pause", "resume", "cancel"):
        problem = calls.refused(
            calls.post(client_api, f"jobs/{job.pk}/{verb}/"), 409, "wrong_state"
        )
        assert "cancelled" in problem["detail"]
    assert Job.objects.values().get(pk=job.pk) == before


def test_steering_takes_no_body(client_api, client_user):
    job = factories.make_job(client_user)

    response = calls.post(client_api, f"jobs/{job.pk}/pause/", {"for": "2h"})

    calls.refused(response, 400, "invalid_input", fields=[("for", "unknown_field")])
    assert Job.objects.get(pk=job.pk).state == "queued"


def test_events_tell_the_story_newest_first(client_api, client_user):
    job = factories.make_job(client_user)
    calls.post(client_api, f"jobs/{job.pk}/pause/")

    events = calls.get(client_api, f"jobs/{job.pk}/events/").json()["results"]

    assert [event["code"] for event in events] == ["paused", "submitted"]
    assert events[0].keys() == {"id", "code", "text", "detail", "created_at"}
    assert events[1]["text"] == "Submitted; the price is held."


def test_acks_show_aliases_and_never_nodes(client_api, client_user):
    job = factories.make_job(client_user)
    nodes = factories.make_fleet(2)
    factories.announce(job, nodes=nodes)
    assert Ack.objects.count() == 2

    response = calls.get(client_api, f"jobs/{job.pk}/acks/")

    results = response.json()["results"]
    assert [(ack["alias"], ack["latency_ms"]) for ack in results] == [
        ("node 1", 50),
        ("node 2", 50),
    ]
    assert results[0].keys() == {"alias", "latency_ms", "received_at"}
    assert not any(node.pk in response.text for node in nodes)
