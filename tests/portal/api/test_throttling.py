"""Rate limits."""

from __future__ import annotations

import pytest

from tests.portal.api import calls


@pytest.fixture
def two_a_minute(settings):
    rates = {"user": "2/min", "anonymous": "2/min"}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}


def test_too_many_requests_are_told_when_to_come_back(client_api, two_a_minute):
    statuses = [calls.get(client_api, "me/").status_code for _ in range(2)]

    response = calls.get(client_api, "me/")

    assert statuses == [200, 200]
    calls.refused(response, 429, "throttled")
    assert 1 <= int(response.headers["Retry-After"]) <= 60


def test_keys_of_one_user_share_the_limit_and_users_do_not(
    client_user, client_api, stranger_api, two_a_minute
):
    calls.get(client_api, "me/")
    calls.get(calls.key_client(client_user), "me/")

    assert calls.get(client_api, "me/").status_code == 429
    assert calls.get(stranger_api, "me/").status_code == 200


def test_callers_nobody_knows_are_limited_by_address(client, db, two_a_minute):
    statuses = [calls.post(client, "nodes/", {}).status_code for _ in range(3)]

    assert statuses == [400, 400, 429]


def test_a_forwarded_address_that_anyone_can_write_is_not_believed(client, db, two_a_minute):
    statuses = [
        calls.post(client, "nodes/", {}, X_Forwarded_For=f"10.0.0.{index}").status_code
        for index in range(3)
    ]

    assert statuses == [400, 400, 429]


def test_health_is_not_limited(client, db, two_a_minute):
    assert [calls.get(client, "health/live").status_code for _ in range(4)] == [200] * 4
