"""`wallet/`."""

from __future__ import annotations

import csv
import io

import pytest

from tests import factories
from tests.portal.api import calls


def test_an_empty_wallet_is_all_zeros(client_api):
    assert calls.get(client_api, "wallet/").json() == {
        "asset": "PI",
        "available": "0.0000000",
        "pending": "0.0000000",
        "frozen": "0.0000000",
        "held": "0.0000000",
        "paid": "0.0000000",
    }


def test_what_a_job_holds_is_not_available(client_api, client_user):
    job = factories.make_job(client_user)

    wallet = calls.get(client_api, "wallet/").json()

    held = job.price_minor
    assert wallet["held"] == f"{held // 10**7}.{held % 10**7:07d}"
    rest = 100 * 10**7 - held
    assert wallet["available"] == f"{rest // 10**7}.{rest % 10**7:07d}"


def test_transfers_are_listed_newest_first_with_their_sign(client_api, client_user):
    factories.make_job(client_user)

    results = calls.get(client_api, "wallet/transfers/").json()["results"]

    assert [row["kind"] for row in results] == ["hold", "deposit"]
    assert results[0]["change"] == "-" + results[0]["amount"]
    assert results[1]["change"] == results[1]["amount"] == "100.0000000"
    assert results[0].keys() == {
        "id", "kind", "source", "destination", "amount", "change", "asset", "ref_type", "ref_id",
        "created_at",
    }  # fmt: skip


def test_a_statement_is_a_years_csv_oldest_first(client_api, client_user):
    factories.make_job(client_user)

    response = calls.get(client_api, "wallet/statement/?year=2026&format=csv", Accept="text/csv")

    text = b"".join(response.streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["kind"] for row in rows] == ["deposit", "hold"]
    assert rows[0]["amount"] == rows[0]["change"] == "100.0000000"


def test_another_year_is_empty_but_for_its_head(client_api, client_user):
    factories.make_job(client_user)

    response = calls.get(client_api, "wallet/statement/?year=2001")

    assert len(b"".join(response.streaming_content).splitlines()) == 1


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("year=1", "year", "min_value"),
        ("year=9999", "year", "max_value"),
        ("year=x", "year", "invalid"),
        ("format=pdf", "format", "invalid_choice"),
    ],
)
def test_bad_statements_are_refused(client_api, query, field, code):
    response = calls.get(client_api, f"wallet/statement/?{query}")

    calls.refused(response, 400, "invalid_input", fields=[(field, code)])
