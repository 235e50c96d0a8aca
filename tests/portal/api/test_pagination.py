"""Pages by cursor."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from tasks.models import Dataset
from tests import factories
from tests.portal.api import calls


@pytest.fixture
def five(client_user) -> list[str]:
    """Five data sets, three of them of the same instant; ids newest first."""
    for index in range(5):
        Dataset.objects.create(
            owner=client_user,
            name=str(index),
            created_at=factories.NOW + timedelta(seconds=max(0, index - 2)),
        )
    rows = Dataset.objects.order_by("-created_at", "-pk")
    return [row.pk for row in rows]


def follow(client, url: str):
    return client.get(url).json()


def ids(page) -> list[str]:
    return [row["id"] for row in page["results"]]


def test_pages_forward_and_back_hold_each_row_once(client_api, five):
    first = calls.get(client_api, "datasets/?limit=2").json()
    second = follow(client_api, first["next"])
    third = follow(client_api, second["next"])

    assert ids(first) + ids(second) + ids(third) == five
    assert (first["previous"], third["next"]) == (None, None)
    back = follow(client_api, third["previous"])
    assert ids(back) == ids(second)
    start = follow(client_api, back["previous"])
    assert (ids(start), start["previous"]) == (ids(first), None)


def test_rows_that_arrive_meanwhile_neither_shift_nor_repeat(client_api, client_user, five):
    first = calls.get(client_api, "datasets/?limit=2").json()
    Dataset.objects.create(owner=client_user, name="new", created_at=factories.NOW + timedelta(1))

    second = follow(client_api, first["next"])

    assert ids(second) == five[2:4]


def test_the_limit_is_kept_in_the_links(client_api, five):
    first = calls.get(client_api, "datasets/?limit=2").json()

    assert "limit=2" in first["next"]


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("0", "min_value"),
        ("101", "max_value"),
        ("-1", "min_value"),
        ("x", "invalid"),
        ("", "invalid"),
    ],
)
def test_a_bad_limit_is_refused(client_api, limit, code):
    response = calls.get(client_api, f"datasets/?limit={limit}")

    calls.refused(response, 400, "invalid_input", fields=[("limit", code)])


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "é",
        encoded({}),
        encoded([]),
        encoded([True]),
        encoded([False, "yesterday", "ds_x"]),
        encoded([False, "2026-11-25T12:00:00+00:00", "a\0"]),
        encoded([False, "2026-11-25T12:00:00+00:00", "x", "y"]),
        encoded([False, 7, None]),
        encoded([False, "2026-11-25T12:00:00+00:00", {"a": 1}]),
    ],
)
def test_a_cursor_that_no_list_made_is_refused(client_api, five, cursor):
    response = calls.get(client_api, f"datasets/?cursor={cursor}")

    problem = calls.refused(response, 400, "invalid_input")
    assert problem["errors"][0]["field"] == "cursor"


def test_a_cursor_shows_nothing_of_somebody_else(stranger_api, client_api, five):
    url = calls.get(client_api, "datasets/?limit=2").json()["next"]

    assert follow(stranger_api, url)["results"] == []


def test_number_keys_page_too(client_api, client_user):
    job = factories.make_job(client_user)
    for verb in ("pause", "resume", "pause"):
        calls.post(client_api, f"jobs/{job.pk}/{verb}/")

    first = calls.get(client_api, f"jobs/{job.pk}/events/?limit=3").json()
    second = follow(client_api, first["next"])

    codes = [event["code"] for event in first["results"] + second["results"]]
    assert codes == ["paused", "resumed", "paused", "submitted"]
    wrong = calls.get(client_api, f"jobs/{job.pk}/events/?cursor={encoded([False, 2**70])}")
    calls.refused(wrong, 400, "invalid_input")
