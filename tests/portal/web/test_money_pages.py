"""Wallet, keys, identity: what is shown and what is refused."""

from __future__ import annotations

import csv
import io
import re

import pytest
from django.utils import timezone

from portal import keys
from portal.models import ApiKey, KycCase
from tests import factories
from tests.portal.web import scenes

pytestmark = pytest.mark.django_db


def test_the_wallet_shows_balances_and_movements(as_client, client_user):
    scenes.finished_job(client_user, factories.make_fleet(2), images=2)

    answer = as_client.get("/wallet/")
    page = answer.content.decode()

    assert answer.context["wallet"].available_minor == 100 * 10**7 - 220_000
    assert "99.978" in page
    assert "Money in" in page
    assert "+100.00" in page
    assert "-0.022" in page


def test_a_statement_is_a_csv_of_the_year(as_client, client_user):
    factories.fund(client_user)

    answer = as_client.get(f"/wallet/statement.csv?year={factories.NOW.year}")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    assert [(row["kind"], row["change"], row["asset"]) for row in rows] == [
        ("deposit", "100.0000000", "PI")
    ]


@pytest.mark.parametrize("year", ["1999", "2999"])
def test_there_is_no_statement_of_other_years(as_client, year):
    assert as_client.get(f"/wallet/statement.csv?year={year}").status_code == 404


def test_a_keys_secret_is_shown_once(as_client):
    answer = as_client.post("/keys/", {"name": "laptop", "scopes": ["read"], "days": "30"})

    secret = re.search(r'id="secret">(nf_[\w-]+)<', answer.content.decode())[1]
    assert keys.find(secret, timezone.now()) == ApiKey.objects.get()
    assert answer["Cache-Control"] == "no-store"
    assert secret not in as_client.get("/keys/").content.decode()


def test_a_key_without_scopes_is_refused_beside_the_field(as_client):
    answer = as_client.post("/keys/", {"name": "laptop", "days": "30"})

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["scopes"]
    assert ApiKey.objects.count() == 0


def test_a_key_is_revoked_after_asking(as_client, client_user):
    key = keys.create(user=client_user, name="old", scopes=["read"], now=timezone.now()).key

    assert b"Revoke old?" in as_client.get(f"/keys/{key.pk}/revoke/").content
    assert ApiKey.objects.get().revoked_at is None
    page = as_client.post(f"/keys/{key.pk}/revoke/", follow=True).content

    assert b"The key old no longer works." in page
    assert ApiKey.objects.get().revoked_at is not None
    assert as_client.get(f"/keys/{key.pk}/revoke/").status_code == 404


def test_another_users_key_is_not_found(as_stranger, client_user):
    key = keys.create(user=client_user, name="old", scopes=["read"], now=timezone.now()).key

    assert as_stranger.post(f"/keys/{key.pk}/revoke/").status_code == 404
    assert ApiKey.objects.get().revoked_at is None


def test_an_identity_is_handed_in_and_then_waits(as_client, client_user):
    answer = as_client.post("/identity/", {"full_name": "Mira  Kay", "country": "DE"}, follow=True)

    case = KycCase.objects.get(user=client_user)
    assert (case.status, case.full_name, case.country) == ("pending", "Mira Kay", "DE")
    assert b"Staff will look at it." in answer.content
    assert b"Hand in</button>" not in answer.content


def test_a_wrong_country_is_refused(as_client):
    answer = as_client.post("/identity/", {"full_name": "Mira Kay", "country": "XX"})

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["country"]
    assert KycCase.objects.count() == 0
