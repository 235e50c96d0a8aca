"""`quotes/`."""

from __future__ import annotations

import pytest

from tasks.models import Job
from tests.portal.api import calls


def test_a_quote_adds_up_and_buys_nothing(client_api, job_body):
    response = calls.post(client_api, "quotes/", job_body)

    assert response.status_code == 200
    quote = response.json()
    assert quote.keys() == {
        "price", "expected", "asset", "images", "chunks", "replicas_planned",
        "replicas_expected", "believed_share", "eta_seconds", "lines",
    }  # fmt: skip
    assert (quote["asset"], quote["images"]) == ("PI", 2)
    assert quote["eta_seconds"].keys() == {"p50", "p90"}
    assert quote["lines"][0].keys() == {"label", "quantity", "unit_price", "amount"}
    minor = [int(line["amount"].replace(".", "")) for line in quote["lines"]]
    assert sum(minor) == int(quote["price"].replace(".", ""))
    # Nobody is online, so nobody is known.
    assert (quote["expected"], quote["believed_share"]) == (quote["price"], 0.0)
    assert Job.objects.count() == 0


def test_only_the_first_three_need_to_be_said(client_api, job_body):
    short = {name: job_body[name] for name in ("kind", "dataset", "model")}

    assert calls.post(client_api, "quotes/", short).status_code == 200


def test_an_empty_body_names_what_is_missing(client_api):
    calls.refused(
        calls.post(client_api, "quotes/", {}),
        400,
        "invalid_input",
        fields=[("kind", "required"), ("dataset", "required"), ("model", "required")],
    )


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"kind": "dance"}, "kind", "invalid_choice"),
        ({"kind": 1}, "kind", "invalid_choice"),
        ({"dataset": 7}, "dataset", "invalid"),
        ({"dataset": ["x"]}, "dataset", "invalid"),
        ({"model": True}, "model", "invalid"),
        ({"target_error": 0.01}, "target_error", "invalid_choice"),
        ({"target_error": "1e-9"}, "target_error", "invalid_choice"),
        ({"score_threshold": "0.5"}, "score_threshold", "invalid"),
        ({"score_threshold": True}, "score_threshold", "invalid"),
        ({"score_threshold": 1.01}, "score_threshold", "max_value"),
        ({"score_threshold": -1}, "score_threshold", "min_value"),
        ({"mode": None}, "mode", "null"),
        ({"max_price": 3}, "max_price", "invalid_amount"),
        ({"max_price": "-1"}, "max_price", "invalid_amount"),
        ({"max_price": "1e3"}, "max_price", "invalid_amount"),
        ({"max_price": "0.00000001"}, "max_price", "invalid_amount"),
        ({"metadata": []}, "metadata", "not_an_object"),
        ({"metadata": {"x": "y" * 5000}}, "metadata", "too_large"),
        ({"review": {"below": 0.6}}, "review.above", "required"),
        ({"review": {"below": 0, "above": 1, "budget": "1", "x": 1}}, "review.x", "unknown_field"),
        ({"priority": 1}, "priority", "unknown_field"),
    ],
)
def test_what_has_not_the_shape_of_a_job_is_refused(client_api, job_body, change, field, code):
    problem = calls.refused(
        calls.post(client_api, "quotes/", {**job_body, **change}), 400, "invalid_input"
    )

    assert (problem["errors"][0]["field"], problem["errors"][0]["code"]) == (field, code)


@pytest.mark.parametrize("kind", ["train", "label"])
def test_kinds_of_the_contract_that_are_not_there_yet_are_refused(client_api, job_body, kind):
    response = calls.post(client_api, "quotes/", {**job_body, "kind": kind})

    calls.refused(response, 422, "kind_not_offered", fields=[("kind", "kind_not_offered")])


@pytest.mark.parametrize(
    ("name", "value"),
    [("review", {"below": 0.2, "above": 0.6, "budget": "1"}), ("webhook", "https://a.example")],
)
def test_parts_of_the_contract_that_are_not_there_yet_are_refused(
    client_api, job_body, name, value
):
    response = calls.post(client_api, "quotes/", {**job_body, name: value})

    calls.refused(response, 422, "not_offered_yet", fields=[(name, "not_offered_yet")])


def test_a_data_set_of_somebody_else_is_not_found(stranger_api, job_body):
    response = calls.post(stranger_api, "quotes/", job_body)

    calls.refused(response, 404, "not_found", fields=[("dataset", "not_found")])


def test_an_operator_gets_no_quote(operator_api, job_body):
    calls.refused(calls.post(operator_api, "quotes/", job_body), 403, "role_missing")
