"""The home folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from workers import config
from workers.config import BrokerLogin, Config, Home

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def make_config(**changes) -> Config:
    fields = {
        "node_id": "n_1",
        "name": "desk",
        "portal_url": "http://portal.example",
        "slots": 2,
        "broker": BrokerLogin(url="amqp://broker.example", queue="node.n_1"),
        "platform_key": "k",
        "models": [],
    }
    return Config(**(fields | changes))


def test_what_is_written_is_read_again(home):
    config.write(home, make_config())

    assert config.read(home) == make_config()
    assert home.config_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.root.iterdir()] == ["config.json"]


def test_the_home_is_closed_to_others(tmp_path):
    home = Home(tmp_path / "new")

    home.make()

    assert home.root.stat().st_mode & 0o777 == 0o700


def test_an_empty_home_is_not_enrolled(home):
    with pytest.raises(config.NotEnrolled):
        config.read(home)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        json.dumps(make_config().model_dump() | {"slots": "2"}),
        json.dumps(make_config().model_dump() | {"slots": 33}),
        json.dumps(make_config().model_dump() | {"extra": 1}),
        json.dumps(make_config().model_dump() | {"broker": {"url": "redis://x", "queue": "q"}}),
    ],
)
def test_a_damaged_file_is_told_from_a_missing_one(home, content):
    home.config_file.write_text(content)

    with pytest.raises(config.Damaged) as caught:
        config.read(home)

    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(home, monkeypatch):
    config.write(home, make_config())

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        config.write(home, make_config(name="other"))

    assert config.read(home).name == "desk"
    assert [path.name for path in home.root.iterdir()] == ["config.json"]


def test_pausing_twice_and_resuming_twice_is_fine(home):
    config.pause(home)
    config.pause(home)
    assert config.is_paused(home, now=NOW)
    config.resume(home)
    config.resume(home)
    assert not config.is_paused(home, now=NOW)


def test_a_pause_with_an_end_is_over_by_itself(home):
    config.pause(home, until=NOW + timedelta(hours=2))

    assert config.is_paused(home, now=NOW + timedelta(minutes=119))
    assert not config.is_paused(home, now=NOW + timedelta(hours=2))


def test_an_unreadable_pause_has_no_end(home):
    config.pause(home)
    home.pause_file.write_text("2026-11-25T14:00 or so")

    assert config.is_paused(home, now=NOW + timedelta(days=9))


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (
            {
                "url": "amqp://b.example:5671",
                "username": "node-1",
                "password": "p/@:ü",
                "vhost": "nf",
            },
            "amqp://node-1:p%2F%40%3A%C3%BC@b.example:5671/nf",
        ),
        (
            {"url": "amqps://b.example/nf", "username": "u", "password": "p"},
            "amqps://u:p@b.example/nf",
        ),
        (
            {"url": "amqp://x:y@b", "username": "u", "password": "p", "vhost": "/"},
            "amqp://u:p@b/%2F",
        ),
        ({"url": "filebroker:///data/broker", "vhost": "/"}, "filebroker:///data/broker"),
    ],
)
def test_the_broker_is_addressed_with_its_login(login, expected):
    assert config.broker_url(BrokerLogin(queue="q", **login)) == expected


def test_the_home_can_be_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(config.HOME_VARIABLE, str(tmp_path))

    assert Home.from_environment().root == tmp_path


def test_drafts_of_a_killed_process_are_removed(home):
    (home.root / ".state.json.0.tmp").touch()

    config.remove_drafts(home.root)

    assert list(home.root.iterdir()) == []
