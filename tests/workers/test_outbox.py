"""Reports wait on disk until they are confirmed."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from workers import outbox as outboxes
from workers.outbox import Outbox
from workers.protocol import limits, messages


def make_report(assignment: str = "1") -> messages.Report:
    return messages.Report(
        sent_at=datetime(2026, 11, 25, tzinfo=UTC),
        node="n_1",
        assignment=assignment,
        nonce="0" * 32,
        model_digest="a" * 64,
        status="done",
    )


@pytest.fixture
def outbox(tmp_path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def test_a_report_is_kept_until_it_is_removed(outbox):
    path = outbox.put(make_report())

    assert messages.Report.model_validate_json(outbox.read(path)) == make_report()
    assert outbox.pending() == [path]
    outbox.remove(path)
    assert (outbox.pending(), outbox.read(path)) == ([], None)


def test_the_oldest_comes_first_and_gives_way(outbox, monkeypatch):
    monkeypatch.setattr(outboxes, "REPORTS_MAX", 2)
    now = datetime.now(UTC).timestamp()
    paths = [outbox.put(make_report(str(number))) for number in range(3)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (now - age, now - age))

    assert outbox.pending() == paths[1:]
    assert not paths[0].exists()


def test_what_is_too_old_is_removed(outbox):
    path = outbox.put(make_report())
    os.utime(path, (0, 0))

    assert outbox.pending() == []
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"x" * (limits.MESSAGE_BYTES_MAX + 1)])
def test_what_cannot_be_a_report_is_removed(outbox, content):
    path = outbox.put(make_report())
    path.write_bytes(content)

    assert outbox.read(path) is None
    assert not path.exists()
