"""`check --deploy` refuses what is only good for trying things out."""

from __future__ import annotations

import pytest

from portal import checks

PRODUCTION = {
    "DEBUG": False,
    "BROKER_URL": "amqp://platform:secret@broker/nodefolk",
    "BROKER_MANAGEMENT_URL": "https://admin:secret@broker:15671",
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


def test_production_passes(production):
    assert checks.check_embedded_parts(None) == []


def test_trying_things_out_passes_while_debugging(settings):
    settings.DEBUG = True

    assert checks.check_embedded_parts(None) == []


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("BROKER_URL", "filebroker:///data/broker", checks.FILE_BROKER),
        ("BROKER_MANAGEMENT_URL", "", checks.FILE_BROKER),
        ("IS_SECRET_EMBEDDED", True, checks.SECRET_KEY),
        ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend", checks.EMAIL),
        ("PUBLIC_URL", "http://portal.example", checks.PLAIN_URL),
    ],
)
def test_each_embedded_part_is_refused(production, name, value, error):
    setattr(production, name, value)

    assert checks.check_embedded_parts(None) == [error]


def test_sqlite_is_refused(production, monkeypatch):
    monkeypatch.setitem(production.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")

    assert checks.check_embedded_parts(None) == [checks.SQLITE]
