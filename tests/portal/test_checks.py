"""`check --deploy` refuses what is only good for trying things out, and plain connections."""

from __future__ import annotations

import pytest

from portal import checks

PRODUCTION = {
    "IS_TRIAL": False,
    "BROKER_URL": "amqp://platform:secret@127.0.0.1:5672/nodefolk",
    "BROKER_INGEST_URL": "amqps://ingest:secret@broker.example:5671/nodefolk",
    "BROKER_NODE_URL": "amqps://broker.example:5671",
    "BROKER_MANAGEMENT_URL": "https://admin:secret@broker:15671",
    "BROKER_AUTHORITY": "127.0.0.1:8099",
    "IS_SECRET_EMBEDDED": False,
    "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
    "PUBLIC_URL": "https://portal.example",
}


@pytest.fixture
def production(settings, monkeypatch):
    for name, value in PRODUCTION.items():
        setattr(settings, name, value)
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    return settings


def found():
    return [*checks.check_embedded_parts(None), *checks.check_transport(None)]


def test_production_passes(production):
    assert found() == []


def test_trying_things_out_passes(settings):
    settings.IS_TRIAL = True

    assert found() == []


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("BROKER_URL", "filebroker:///data/broker", checks.FILE_BROKER),
        ("BROKER_MANAGEMENT_URL", "", checks.FILE_BROKER),
        ("IS_SECRET_EMBEDDED", True, checks.SECRET_KEY),
        ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend", checks.EMAIL),
        ("PUBLIC_URL", "http://portal.example", checks.PLAIN_URL),
        ("BROKER_NODE_URL", "amqp://broker.example:5672", checks.PLAIN_NODES),
        ("BROKER_URL", "amqp://platform:secret@broker.example/nodefolk", checks.PLAIN_BROKER),
        ("BROKER_INGEST_URL", "amqp://ingest:secret@broker.example/x", checks.PLAIN_BROKER),
        ("BROKER_AUTHORITY", "", checks.NO_AUTHORITY),
        ("METRICS_TOKEN", "x" * 31, checks.SHORT_TOKEN),
    ],
)
def test_what_is_embedded_or_plain_is_refused(production, name, value, error):
    setattr(production, name, value)

    assert found() == [error]


def test_sqlite_is_refused(production, monkeypatch):
    monkeypatch.setitem(production.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")

    assert found() == [checks.SQLITE]


def test_no_message_shows_a_password(production):
    production.BROKER_URL = "amqp://platform:secret@broker.example/nodefolk"

    assert "secret" not in str(found())
