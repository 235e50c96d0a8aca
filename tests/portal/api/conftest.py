"""Clients of the API for the cast."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from tests import factories
from tests.portal.api import calls


@pytest.fixture(autouse=True)
def _fresh_rates():
    cache.clear()


@pytest.fixture
def client_api(client_user) -> Client:
    return calls.key_client(client_user)


@pytest.fixture
def operator_api(operator) -> Client:
    return calls.key_client(operator)


@pytest.fixture
def stranger_api(stranger) -> Client:
    return calls.key_client(stranger)


@pytest.fixture
def model(db):
    return factories.make_model()


@pytest.fixture
def dataset(client_user):
    return factories.make_dataset(client_user, images=2)


@pytest.fixture
def job_body(dataset, model) -> dict:
    return {
        "kind": "detect",
        "dataset": dataset.pk,
        "model": model.pk,
        "target_error": "1e-2",
        "score_threshold": 0.4,
        "mode": "normal",
        "metadata": {"order": "7"},
    }
