"""`check --deploy`: plain connections and embedded parts are errors."""

from __future__ import annotations

import pytest
from django.db import connection

from portal import checks


@pytest.fixture
def production(settings):
    settings.PUBLIC_URL = "https://portal.example"
    settings.BROKER_URL = "amqp://platform:secret@127.0.0.1:5672/nodefolk"
    settings.BROKER_INGEST_URL = "amqps://ingest:secret@broker.example:5671/nodefolk"
    settings.BROKER_NODE_URL = "amqps://broker.example:5671"
    settings.BROKER_AUTHORITY = "127.0.0.1:8099"
    return settings


def codes():
    return [found.id for found in checks.check_transport()]


def test_production_with_tls_passes(production):
    assert codes() == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("PUBLIC_URL", "http://portal.example", "nodefolk.E001"),
        ("BROKER_URL", "filebroker:///var/lib/nodefolk", "nodefolk.E002"),
        ("BROKER_NODE_URL", "amqp://broker.example:5672", "nodefolk.E003"),
        ("BROKER_URL", "amqp://platform:secret@broker.example/nodefolk", "nodefolk.E004"),
        ("BROKER_INGEST_URL", "amqp://ingest:secret@broker.example/nodefolk", "nodefolk.E004"),
        ("BROKER_AUTHORITY", "", "nodefolk.E005"),
    ],
)
def test_what_is_plain_or_embedded_is_an_error(production, name, value, code):
    setattr(production, name, value)

    assert codes() == [code]


def test_no_message_shows_a_password(production):
    production.BROKER_URL = "amqp://platform:secret@broker.example/nodefolk"

    assert "secret" not in str(checks.check_transport())


def test_sqlite_is_an_error():
    expected = ["nodefolk.E006"] if connection.vendor == "sqlite" else []

    assert [found.id for found in checks.check_database()] == expected
