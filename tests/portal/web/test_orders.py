"""Buying a job on its page."""

from __future__ import annotations

import pytest

from payments import queries
from tasks.models import Job
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def choices(client_user) -> dict[str, str]:
    factories.fund(client_user)
    dataset = factories.make_dataset(client_user, images=4)
    return {
        "dataset": dataset.pk,
        "model": factories.make_model().pk,
        "target_error": "1e-3",
        "score_threshold": "0.3",
    }


def test_the_page_prices_the_first_choice_at_once(as_client, choices):
    answer = as_client.get(f"/jobs/new/?dataset={choices['dataset']}")
    page = answer.content.decode()

    assert answer.context["offer"].quote.price_minor == 660_000
    assert "photos (4 pictures)" in page
    assert 'value="660000"' in page
    assert "Never more than" in page


def test_the_quote_follows_the_choices(as_client, choices):
    standard = as_client.post("/jobs/quote/", choices)
    assured = as_client.post("/jobs/quote/", {**choices, "target_error": "1e-4"})

    assert standard.status_code == 200
    # Nobody is online, so nobody is known and all of it will likely be spent.
    assert b"Likely back" in standard.content
    assert b"0.066" in standard.content
    assert b"0.088" in assured.content
    assert b"<html" not in standard.content
    assert Job.objects.count() == 0


def test_a_quote_that_cannot_be_made_says_why(as_client, choices, client_user):
    empty = factories.make_dataset(client_user, images=0)

    answer = as_client.post("/jobs/quote/", {**choices, "dataset": empty.pk})

    assert answer.status_code == 422
    assert b"The data set holds no images." in answer.content


def test_a_job_is_bought_and_shown(as_client, choices, client_user):
    answer = as_client.post("/jobs/new/", {**choices, "max_price": "660000"})

    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{job.pk}/")
    assert job.price_minor == 660_000
    assert queries.wallet(client_user.pk).held_minor == 660_000


def test_the_job_carries_what_the_account_is_for(as_client, choices):
    as_client.post("/account/category/", {"client_category": "education"})

    as_client.post("/jobs/new/", choices)

    assert Job.objects.get().client_category == "education"


def test_more_than_was_shown_is_never_held(as_client, choices, client_user):
    answer = as_client.post("/jobs/new/", {**choices, "max_price": "659999"})

    assert answer.status_code == 422
    assert b"costs more than max_price" in answer.content
    assert Job.objects.count() == 0
    assert queries.wallet(client_user.pk).held_minor == 0


def test_who_has_no_money_is_told_on_the_page(client, choices, stranger):
    client.force_login(stranger)
    dataset = factories.make_dataset(stranger, images=1)

    answer = client.post("/jobs/new/", {**choices, "dataset": dataset.pk})

    assert answer.status_code == 422
    assert b"Your available balance is smaller than the price." in answer.content
    assert b"are missing." in answer.content
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("dataset", "", "Choose a data set or upload pictures."),
        ("model", "mdl_x", "Select a valid choice."),
        ("target_error", "1e-9", "Select a valid choice."),
        ("score_threshold", "7", "less than or equal to 1"),
        ("score_threshold", "nan", "Enter a number."),
    ],
)
def test_a_wrong_choice_is_told_beside_its_field(as_client, choices, field, value, sentence):
    answer = as_client.post("/jobs/new/", {**choices, field: value})

    assert answer.status_code == 422
    assert sentence in str(answer.context["form"].errors[field])
    assert sentence in answer.content.decode()
    assert Job.objects.count() == 0


def test_another_users_data_set_is_no_choice(as_client, choices, stranger):
    foreign = factories.make_dataset(stranger, images=1)

    answer = as_client.post("/jobs/new/", {**choices, "dataset": foreign.pk})

    assert answer.status_code == 422
    assert b"photos (1 picture)" not in answer.content
    assert Job.objects.count() == 0


def test_without_javascript_the_price_is_a_button(as_client, choices):
    answer = as_client.post("/jobs/new/", {**choices, "quote": "1"})

    assert answer.status_code == 200
    assert b"0.066" in answer.content
    assert Job.objects.count() == 0
