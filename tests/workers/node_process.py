"""Real node processes for tests: enrolled at a platform double, started, ended, asked."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.workers import models
from tests.workers.platform_double import (
    NODE_ID,
    FileServer,
    Platform,
    Received,
    Served,
    make_assignment,
    make_input,
    make_reference,
)
from workers import cli, identity, status
from workers.config import Home
from workers.protocol import digests, messages, routes, signatures
from workers.protocol.allowance import Allowance

ROOT = Path(__file__).parents[2]
MODEL = models.make_detector()
PICTURE = models.make_picture()


@dataclasses.dataclass
class Node:
    """A running node and all around it."""

    home: Home
    platform: Platform
    server: FileServer
    process: subprocess.Popen[bytes]

    @property
    def model(self) -> messages.ModelReference:
        return make_reference(MODEL, f"{self.server.url}/model")

    def picture(self, **changes: object) -> messages.Input:
        return make_input(PICTURE, f"{self.server.url}/picture", **changes)

    def assignment(self, **changes: object) -> messages.Assignment:
        return make_assignment(**({"model": self.model, "inputs": [self.picture()]} | changes))

    def refused(self) -> dict[str, int]:
        state = status.read(self.home)
        return {} if state is None else state.refused

    def ask(self, *arguments: str) -> int:
        return cli.main(["--home", str(self.home.root), *arguments])


def start(home: Home, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    with (home.root / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "workers", "--home", str(home.root), "run", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def enroll(home: Home, platform: Platform, server: FileServer, **changes: object) -> None:
    platform.add_node(NODE_ID)
    server.serve("/model", Served(MODEL))
    server.serve("/picture", Served(PICTURE))
    built_in = {
        "digest": digests.digest(MODEL),
        "size_bytes": len(MODEL),
        "url": f"{server.url}/model",
    }
    answer = platform.enrollment(NODE_ID, models=[built_in], **changes)
    server.serve(routes.ENROLL_PATH, Served(answer, 201))
    code = cli.main(
        ["--home", str(home.root), "enroll", "--portal", server.url, "--token", "t", "--name", "x"]
    )
    assert code == 0
    key = identity.load_key(home.key_file)
    platform.node_keys[NODE_ID] = signatures.public_text(key)


def end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def reason_of(found: Received) -> str:
    return found.heartbeat.reason


def is_report_of(assignment: messages.Assignment):
    return lambda found: found.kind == "report" and found.report.assignment == assignment.assignment


def settings(revision: int, *, is_paused: bool) -> messages.NodeSettings:
    return messages.NodeSettings(
        sent_at=datetime.now(UTC),
        node=NODE_ID,
        revision=revision,
        is_paused=is_paused,
        wishes=Allowance(),
    )


def receipt(assignment: messages.Assignment, *, node: str = NODE_ID) -> messages.Receipt:
    name = messages.ReportName(assignment=assignment.assignment, nonce=assignment.nonce)
    return messages.Receipt(sent_at=datetime.now(UTC), node=node, reports=[name])


def wait_until(is_true, *, seconds_max: float = 20) -> None:
    deadline = time.monotonic() + seconds_max
    pause = threading.Event()
    while not is_true():
        assert time.monotonic() < deadline
        pause.wait(0.05)
