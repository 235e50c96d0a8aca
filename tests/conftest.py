"""Fixtures for all tests: a fixed cast of users, one clock reading, files in a scratch folder."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection

from portal.models import User
from tasks import broker
from tasks.verification import audits
from tests import factories
from tests.flows import platform as platforms


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a RabbitMQ when none is named; `bin/test` always names one."""
    if os.environ.get("BROKER_MANAGEMENT_URL"):
        return
    left_out = [item for item in items if item.get_closest_marker("rabbitmq")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _topology():
    """Declare exchanges and queues once, on whichever broker the settings name."""
    broker.declare_topology()


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """One platform of real processes for all suites that need one: its ports are fixed."""
    with platforms.running(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(autouse=True)
def _scratch_media(settings, tmp_path_factory):
    settings.MEDIA_ROOT = tmp_path_factory.mktemp("blobs")


@pytest.fixture(autouse=True)
def _fast_passwords(settings):
    """Hash in microseconds: the real hasher takes longer than most tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _no_lots(request, monkeypatch):
    """Let no lot decide what a test sees: which chunk is audited hangs on its number."""
    if not request.node.get_closest_marker("lots"):
        monkeypatch.setattr(audits, "is_drawn", lambda **_: False)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def client_user(db) -> User:
    return factories.make_user("client")


@pytest.fixture
def operator(db) -> User:
    return factories.make_user("operator", is_person=True)


@pytest.fixture
def annotator(db) -> User:
    return factories.make_user("annotator", is_person=True)


@pytest.fixture
def staff(db) -> User:
    return factories.make_user("staff")


@pytest.fixture
def stranger(db) -> User:
    """Somebody with every role and nothing to do with the others."""
    return factories.make_user("stranger", is_person=True)


@pytest.fixture(autouse=True)
def _emptied_ledger(request):
    """Delete the transfers of a transactional test before its tables are flushed.

    SQLite flushes with DELETE, which the append-only trigger refuses; PostgreSQL truncates.
    """
    marker = request.node.get_closest_marker("django_db")
    if not (marker and marker.kwargs.get("transaction")) and not (
        {"transactional_db", "live_server"} & set(request.fixturenames)
    ):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            _without_triggers(cursor, "DELETE FROM payments_transfer")


def _without_triggers(cursor, statement: str) -> None:
    cursor.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        " AND tbl_name = 'payments_transfer'"
    )
    triggers = cursor.fetchall()
    for name, _ in triggers:
        cursor.execute(f"DROP TRIGGER {name}")
    cursor.execute(statement)
    for _, sql in triggers:
        cursor.execute(sql)


@pytest.fixture
def side_by_side():
    """Return a function that runs calls at once, each in its own thread and connection.

    It answers what each returned, or the exception it raised.
    """

    def run(*calls):
        start = threading.Barrier(len(calls))

        def one(call):
            try:
                start.wait(timeout=30)
                return call()
            finally:
                connection.close()

        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(one, call) for call in calls]
        return [future.exception() or future.result() for future in futures]

    return run
