"""`health/`."""

from __future__ import annotations

from portal.api import health
from tests.portal.api import calls


def test_live_needs_nothing(client):
    response = calls.get(client, "health/live")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_names_each_part(client, db):
    response = calls.get(client, "health/ready")

    assert (response.status_code, response.json()) == (
        200,
        {"status": "ok", "database": "ok", "broker": "ok", "storage": "ok"},
    )


def test_an_unreachable_broker_is_named(client, db, settings):
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:1//"
    settings.BROKER_MANAGEMENT_URL = "http://guest:guest@127.0.0.1:1"

    problem = calls.refused(calls.get(client, "health/ready"), 503, "not_ready")

    assert problem["errors"] == [
        {"field": "broker", "code": "unavailable", "detail": "It does not answer."}
    ]


def test_storage_that_fails_is_noticed(db, settings, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    settings.MEDIA_ROOT = tmp_path / "file" / "no_folder"

    assert health.storage_trouble() == "It takes no files."
    settings.MEDIA_ROOT = tmp_path / "folder"
    assert health.storage_trouble() == ""
    assert not any(path.is_file() for path in settings.MEDIA_ROOT.rglob("*"))
