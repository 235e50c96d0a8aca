"""What a node goes through: power cuts, a full disk, a platform that is away, wrong clocks."""

from __future__ import annotations

import http.server
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from workers import clock, config, control, outbox
from workers.outbox import Outbox
from workers.protocol import messages
from workers.protocol.allowance import Allowance

ROOT = Path(__file__).parents[2]
KILLS = 12


@pytest.mark.slow
def test_a_power_cut_at_any_moment_leaves_only_whole_files(home):
    """Killed while writing, the old file or the new one is there, and nothing in between."""
    home.make()
    control.write_limits(home, Allowance(cores=1))
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.kill_writer", str(home.root)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        for _ in range(random.randint(1, 20)):
            writer.stdout.readline()
        writer.kill()
        writer.wait()
        writer.stdout.close()

        assert control.read_limits(home).cores is not None
        assert control.read_settings(home).revision > 0
        ends = config.pause_end(home.pause_file.read_text())
        assert ends is not None
        for path in Outbox(home.outbox_folder).pending():
            messages.Report.model_validate_json(path.read_bytes())
    config.remove_drafts(home.root)
    assert not list(home.root.rglob("*.tmp"))


def test_a_node_without_receipts_for_days_keeps_a_bounded_number_of_reports(home, monkeypatch):
    monkeypatch.setattr(outbox, "REPORTS_MAX", 5)
    box = Outbox(home.outbox_folder)
    for number in range(9):
        box.put(_report(str(number)))

    assert len(box.pending()) == 5
    assert len(list(home.outbox_folder.iterdir())) == 5


@pytest.mark.parametrize("minutes", [-20, 0, 20])
def test_a_wrong_clock_is_measured_by_the_portals(minutes):
    with _portal_at(datetime.now(UTC) - timedelta(minutes=minutes)) as url:
        skew = clock.skew_seconds(url)

    assert skew == pytest.approx(minutes * 60, abs=2)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 25 Nov 2026 12:00:00"])
def test_a_portal_that_does_not_tell_the_time_accuses_nobody(date):
    with _portal_saying(date) as url:
        assert clock.skew_seconds(url) is None


def test_a_portal_that_is_away_accuses_nobody():
    assert clock.skew_seconds("http://127.0.0.1:9") is None


@contextmanager
def _portal_at(moment: datetime) -> Iterator[str]:
    with _portal_saying(format_datetime(moment, usegmt=True)) as url:
        yield url


@contextmanager
def _portal_saying(date: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", date)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _report(assignment: str) -> messages.Report:
    return messages.Report(
        sent_at=datetime.now(UTC),
        node="n",
        assignment=assignment,
        nonce="a" * 32,
        model_digest="b" * 64,
        status="done",
    )
