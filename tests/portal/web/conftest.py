"""Signed-in browsers for the cast, without a browser."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.fixture
def as_client(client, client_user) -> Client:
    client.force_login(client_user)
    return client


@pytest.fixture
def as_operator(operator) -> Client:
    browser = Client()
    browser.force_login(operator)
    return browser


@pytest.fixture
def as_stranger(stranger) -> Client:
    browser = Client()
    browser.force_login(stranger)
    return browser


@pytest.fixture
def as_staff(staff) -> Client:
    browser = Client()
    browser.force_login(staff)
    return browser
