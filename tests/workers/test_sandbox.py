"""Rooms with real models in them, honest and not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.workers import models
from workers import sandbox
from workers.protocol import digests
from workers.room import child, locks
from workers.sandbox import Room, RoomLimits, Start

ROOT = Path(__file__).parents[2]
LIMITS = RoomLimits(priority="normal")
PIXELS = np.full((1, 20, 30, 3), 51, dtype=np.uint8)
FEEDS = {"image": PIXELS, "score_threshold": np.zeros(1, dtype=np.float32)}
KEEPER = """
import sys, time
from workers import sandbox
room = sandbox.start_room(room_limits=sandbox.RoomLimits())
print(room.pid, flush=True)
time.sleep(60)
"""

FORKING = """
import os
from workers import sandbox
limits = sandbox.RoomLimits(priority="normal")
sandbox.start_room(room_limits=limits).close()
child = os.fork()
if child == 0:
    sandbox.start_room(room_limits=limits).close()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def open_room(folder: Path, content: bytes, *, room_limits: RoomLimits = LIMITS) -> Room:
    path = folder / "model"
    path.write_bytes(content)
    return sandbox.open_room(
        path,
        digest=digests.digest(content),
        inputs=models.DECLARED.inputs,
        outputs=models.DECLARED.outputs,
        room_limits=room_limits,
    )


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    pause = threading.Event()
    while is_running(pid):
        assert time.monotonic() < deadline
        pause.wait(0.02)


@pytest.mark.parametrize("takes_threshold", [True, False])
def test_a_room_answers_as_declared_and_names_the_inputs_it_takes(tmp_path, takes_threshold):
    content = models.make_detector(takes_threshold=takes_threshold)

    with contextlib.closing(open_room(tmp_path, content)) as room:
        answer = room.run(FEEDS)

    assert answer["boxes"].tolist() == np.array(models.BOXES, dtype=np.float32).tolist()
    assert answer["classes"].tolist() == models.CLASSES
    assert room.takes == {"image", "score_threshold"} - (
        set() if takes_threshold else {"score_threshold"}
    )
    assert not room.is_alive


def test_a_strange_model_is_not_shown_to_a_room_without_landlock(tmp_path):
    content = models.make_detector()
    (tmp_path / "model").write_bytes(content)
    room = sandbox.start_room(room_limits=LIMITS, start=Start(without=(locks.LANDLOCK,)))

    with pytest.raises(sandbox.NotLocked):
        room.load(
            tmp_path / "model",
            digest=digests.digest(content),
            inputs=models.DECLARED.inputs,
            outputs=models.DECLARED.outputs,
        )

    assert not room.is_alive


def test_a_built_in_model_runs_with_what_locks_there_are(tmp_path):
    content = models.make_detector()
    (tmp_path / "model").write_bytes(content)
    without = (locks.LANDLOCK, locks.SECCOMP, locks.NETWORK)
    room = sandbox.start_room(room_limits=LIMITS, start=Start(without=without))

    with contextlib.closing(room):
        room.load(
            tmp_path / "model",
            digest=digests.digest(content),
            inputs=models.DECLARED.inputs,
            outputs=models.DECLARED.outputs,
            is_built_in=True,
        )

        assert room.run(FEEDS)["classes"].tolist() == models.CLASSES


@pytest.mark.parametrize(
    ("held", "suffices"),
    [
        ({*sandbox.NEEDED, locks.SECCOMP}, True),
        ({*sandbox.NEEDED, locks.NETWORK}, True),
        (set(sandbox.NEEDED), False),
        ({*sandbox.NEEDED, locks.SECCOMP} - {locks.LANDLOCK}, False),
        ({*sandbox.NEEDED, locks.SECCOMP} - {locks.RLIMITS}, False),
        (set(), False),
    ],
)
def test_landlock_limits_and_a_wall_to_the_network_are_needed(held, suffices):
    assert sandbox.is_locked(frozenset(held)) == suffices


def test_a_model_without_end_is_stopped_by_the_clock(tmp_path):
    limits = RoomLimits(run_seconds=0.3, priority="normal")
    with contextlib.closing(open_room(tmp_path, models.make_endless(), room_limits=limits)) as room:
        with pytest.raises(sandbox.RoomHung, match="hung: run"):
            room.run(FEEDS)

        assert not room.is_alive


def test_a_model_that_wants_all_memory_is_refused_it(tmp_path):
    with contextlib.closing(open_room(tmp_path, models.make_bomb())) as room:
        with pytest.raises(sandbox.OutOfMemory):
            room.run(FEEDS)

        assert not room.is_alive


def test_a_model_that_does_not_fit_is_refused_at_once(tmp_path):
    limits = RoomLimits(memory_bytes=800 * 1024 * 1024, priority="normal")

    with pytest.raises(sandbox.OutOfMemory):
        open_room(tmp_path, bytes(201 * 1024 * 1024), room_limits=limits)


def test_a_refused_picture_leaves_the_room_open(tmp_path):
    with contextlib.closing(open_room(tmp_path, models.make_detector())) as room:
        with pytest.raises(sandbox.Unusable, match="rank of image"):
            room.run(FEEDS | {"image": PIXELS[0]})

        assert room.run(FEEDS)["classes"].tolist() == models.CLASSES


def test_another_digest_is_noticed_before_the_model_is_opened(tmp_path):
    (tmp_path / "model").write_bytes(models.make_detector())

    with pytest.raises(sandbox.Corrupt):
        sandbox.open_room(
            tmp_path / "model",
            digest="0" * 64,
            inputs=models.DECLARED.inputs,
            outputs=models.DECLARED.outputs,
        )


def test_a_worn_room_says_so(tmp_path):
    limits = RoomLimits(cpu_seconds=0, priority="normal")
    room = Room(child.Child([sys.executable, "-c", _honest_greeting()]), room_limits=limits)

    with contextlib.closing(room):
        assert not room.is_worn
        room._busy_seconds = 1.0
        assert room.is_worn


def test_what_is_no_room_is_unavailable():
    start = Start(code="raise SystemExit(3)")

    with pytest.raises(sandbox.RoomUnavailable, match="died: exit 3"):
        sandbox.start_room(room_limits=LIMITS, start=start)


def test_a_room_outlives_the_thread_that_opened_it(tmp_path):
    opened: list[Room] = []
    thread = threading.Thread(
        target=lambda: opened.append(open_room(tmp_path, models.make_detector()))
    )
    thread.start()
    thread.join()

    with contextlib.closing(opened[0]) as room:
        assert room.run(FEEDS)["classes"].tolist() == models.CLASSES


@pytest.mark.slow
def test_a_room_dies_with_its_keeper():
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], cwd=ROOT, stdout=subprocess.PIPE
    ) as keeper:
        pid = int(keeper.stdout.readline())
        assert is_running(pid)

        keeper.send_signal(signal.SIGKILL)

        await_end(pid)


@pytest.mark.slow
def test_a_forked_process_opens_rooms_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("0\n", 0)


@pytest.mark.parametrize(
    ("priority", "niceness", "is_held"), [("idle", 19, True), ("low", 10, False)]
)
def test_a_room_gives_way_as_its_limits_say(priority, niceness, is_held):
    room = sandbox.start_room(room_limits=RoomLimits(priority=priority))

    with contextlib.closing(room):
        assert os.getpriority(os.PRIO_PROCESS, room.pid) == niceness
        assert (os.sched_getscheduler(room.pid) == os.SCHED_IDLE) == is_held
        assert (locks.PRIORITY in room.held) == is_held


def test_the_locks_of_this_machine_are_named_one_by_one():
    found = sandbox.locks_present()

    assert [each.lock for each in found] == list(locks.NAMES)
    assert sandbox.can_lock() == sandbox.is_locked(
        frozenset(each.lock for each in found if each.is_present)
    )


def _honest_greeting() -> str:
    """Return a program that says that no lock holds, and waits."""
    return (
        "import sys, time; from struct import pack;"
        f"sys.stdout.buffer.write(pack('<BBH', 0, 1, 0)"
        f" + pack('<BBBx8Q', 0, 2, 1, {len(locks.NAMES)}, *[0] * 7) + bytes({len(locks.NAMES)}));"
        "sys.stdout.buffer.flush(); sys.stdin.read()"
    )
