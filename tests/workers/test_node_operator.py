"""A real node process on a machine that is used, full, or cut off from its platform."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.workers.node_process import (
    PICTURE,
    Node,
    end,
    is_report_of,
    reason_of,
    receipt,
    start,
    wait_until,
)
from tests.workers.platform_double import NODE_ID, Served, make_input
from workers import control, status
from workers.config import Home
from workers.permission import DISK_FREE_BYTES_BACK
from workers.protocol import messages, routes
from workers.protocol.allowance import Allowance
from workers.protocol.limits import MIB

pytestmark = pytest.mark.slow


@pytest.fixture
def busy() -> Callable[[], None]:
    """Return a function that starts a real busy loop on every core, ended with the test."""
    loops: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        loops.extend(
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count() or 1)
        )

    yield begin
    for loop in loops:
        loop.kill()
        loop.wait()


def compute_slowly(node: Node) -> tuple[messages.Assignment, threading.Event]:
    """Send an assignment that runs until the event is set."""
    gate = threading.Event()
    url = node.server.serve("/slow", Served(PICTURE, gate=gate))
    assignment = node.assignment(inputs=[make_input(PICTURE, url)])
    node.platform.send(routes.TASK_ASSIGN, assignment)
    node.platform.receive(lambda found: found.kind == "heartbeat" and found.heartbeat.running)
    return assignment, gate


def test_a_real_busy_loop_stops_the_node_and_its_work_is_handed_back(own_node, busy):
    control.write_limits(own_node.home, Allowance(only_when_idle=True))
    assignment, gate = compute_slowly(own_node)
    began = time.monotonic()

    busy()

    own_node.platform.receive(
        lambda found: found.kind == "heartbeat" and reason_of(found) == "user_active"
    )
    noticed = time.monotonic() - began
    report = own_node.platform.receive(is_report_of(assignment)).report
    gate.set()
    assert noticed < 20
    assert (report.status, report.reason) == ("handed_back", "user_active")
    assert 9 < time.monotonic() - began - noticed < 15


def test_a_changed_limit_is_obeyed_within_seconds(own_node):
    control.write_limits(own_node.home, Allowance(kinds=["train"]))

    wait_until(lambda: status.read(own_node.home).reason == "", seconds_max=5)
    assignment = own_node.assignment()
    own_node.platform.send(routes.TASK_ASSIGN, assignment)

    report = own_node.platform.receive(is_report_of(assignment)).report
    assert (report.status, report.reason) == ("handed_back", "kind_not_allowed")


def test_what_the_file_forbids_is_not_computed_though_the_page_and_the_server_want_it(own_node):
    control.write_limits(own_node.home, Allowance(client_categories=["research"]))
    own_node.platform.receive(
        lambda found: (
            found.kind == "heartbeat"
            and found.heartbeat.profile is not None
            and found.heartbeat.profile.allowance.client_categories == ["research"]
        )
    )
    wishes = Allowance(client_categories=["research", "commercial"])
    own_node.platform.send(
        routes.TASK_SETTINGS,
        messages.NodeSettings(
            sent_at=datetime.now(UTC), node=NODE_ID, revision=1, is_paused=False, wishes=wishes
        ),
    )
    forbidden = own_node.assignment(client_category="commercial")
    allowed = own_node.assignment(client_category="research")

    for assignment in (forbidden, allowed):
        own_node.platform.send(routes.TASK_ASSIGN, assignment)

    refused = own_node.platform.receive(is_report_of(forbidden)).report
    assert (refused.status, refused.reason, refused.answers) == (
        "handed_back",
        "category_not_allowed",
        [],
    )
    assert own_node.platform.receive(is_report_of(allowed)).report.status == "done"


def test_a_report_made_while_broker_and_portal_are_gone_arrives_when_they_are_back(own_node):
    assignment, gate = compute_slowly(own_node)
    broker = own_node.home.root.parent / "broker"
    broker.rename(broker.with_name("away"))

    gate.set()
    wait_until(lambda: (state := status.read(own_node.home)) and state.trouble != "")
    assert status.read(own_node.home).unconfirmed_reports == 1
    for path in sorted(broker.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if broker.exists():
        broker.rmdir()
    broker.with_name("away").rename(broker)

    report = own_node.platform.receive(is_report_of(assignment), seconds_max=60).report
    assert report.status == "done"
    own_node.platform.send(routes.TASK_RECEIPT, receipt(assignment))
    wait_until(lambda: list(own_node.home.outbox_folder.glob("*.json")) == [])


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A disk of its own, hardly larger than what a node wants to see free."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    size = DISK_FREE_BYTES_BACK + 40 * MIB
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def move_to(node: Node, folder: Path) -> None:
    """Stop the node and start it again with its home on another disk."""
    assert end(node.process) == 0
    for path in node.home.root.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
            (folder / path.name).chmod(0o600)
    node.home = Home(folder)
    node.process = start(node.home)
    node.platform.receive(lambda found: found.kind == "heartbeat" and not reason_of(found))


def fill(folder: Path) -> Path:
    """Write until not a byte fits."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(MIB)):
            pass
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"x"):
            pass
    return filler


def test_on_a_full_disk_the_node_rests_loses_no_result_and_works_again(own_node, small_disk):
    move_to(own_node, small_disk)
    assignment, gate = compute_slowly(own_node)

    filler = fill(small_disk)
    gate.set()

    report = own_node.platform.receive(is_report_of(assignment)).report
    assert (report.status, report.reason) == ("done", "")
    own_node.platform.receive(
        lambda found: found.kind == "heartbeat" and reason_of(found) == "disk_full"
    )
    refused = own_node.assignment()
    own_node.platform.send(routes.TASK_ASSIGN, refused)
    report = own_node.platform.receive(is_report_of(refused)).report
    assert (report.status, report.reason) == ("handed_back", "disk_full")
    assert own_node.process.poll() is None

    filler.unlink()

    own_node.platform.receive(
        lambda found: found.kind == "heartbeat" and not reason_of(found), seconds_max=60
    )
    wait_until(lambda: (state := status.read(own_node.home)) and state.reason == "")
    computed = own_node.assignment()
    own_node.platform.send(routes.TASK_ASSIGN, computed)
    assert own_node.platform.receive(is_report_of(computed)).report.status == "done"


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_node_with_a_wrong_clock_rests_says_so_and_works_when_it_is_set(own_node, minutes):
    assert end(own_node.process) == 0
    own_node.server.ahead_seconds = -60 * minutes
    own_node.process = start(own_node.home)
    own_node.platform.receive(
        lambda found: found.kind == "heartbeat" and reason_of(found) == "clock_skew"
    )
    wait_until(lambda: (state := status.read(own_node.home)) and state.reason == "clock_skew")
    assert status.read(own_node.home).skew_seconds == pytest.approx(60 * minutes, abs=5)
    refused = own_node.assignment()
    own_node.platform.send(routes.TASK_ASSIGN, refused)
    report = own_node.platform.receive(is_report_of(refused)).report
    assert (report.status, report.reason) == ("handed_back", "clock_skew")

    own_node.server.ahead_seconds = 0.0

    own_node.platform.receive(
        lambda found: found.kind == "heartbeat" and not reason_of(found), seconds_max=60
    )
    computed = own_node.assignment()
    own_node.platform.send(routes.TASK_ASSIGN, computed)
    assert own_node.platform.receive(is_report_of(computed)).report.status == "done"
