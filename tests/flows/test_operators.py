"""From the copied line to the first paid work, and everything an operator does after that."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.demo import stack
from tests.flows import installing

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.slow


class Installed:
    """A node installed from the wheel, in an environment that knows nothing of this one."""

    def __init__(self, bin_folder: Path, home: Path) -> None:
        self.bin = bin_folder
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "NODEFOLK_HOME": str(self.home)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "nodefolk-node"), *arguments],
            env=self.environment(),
            cwd=self.home.parent,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self) -> None:
        with (self.home.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.bin / "nodefolk-node"), "run"],
                env=self.environment(),
                cwd=self.home.parent,
                stdout=log,
                stderr=log,
            )

    def state(self) -> dict[str, object]:
        file = self.home / "state.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    @property
    def node_id(self) -> str:
        return str(json.loads((self.home / "config.json").read_text())["node_id"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    (folder / "home").mkdir(mode=0o700)
    # A laptop that runs these tests on battery would rest.
    (folder / "home" / "limits.toml").write_text("battery = true\n")
    wheel = installing.build_wheel(folder / "dist")
    node = Installed(installing.make_environment(folder / "venv"), folder / "home")
    names = installing.install(wheel, node.bin, extra="node")
    assert "onnxruntime" in names
    assert not {"django", "djangorestframework", "psycopg2-binary", "granian"} & set(names)
    yield node
    node.stop()


@pytest.fixture(scope="module")
def partner(platform) -> Iterator[None]:
    """A node of another owner: every answer is checked by two."""
    home = platform.stack.node_home(99)
    home.mkdir(parents=True, mode=0o700)
    (home / "limits.toml").write_text("battery = true\n")
    argv = stack.node_argv(home, "enroll", "--portal", platform.stack.url, "--token")
    enrolled = subprocess.run(
        [*argv, token(platform, "operator-2")], cwd=stack.BASE_DIR, check=False
    )
    assert enrolled.returncode == 0
    platform.stack.start_node(99)
    yield
    platform.stack.stop("node-99")


def token(platform, role: str) -> str:
    with platform.api(role) as api:
        return str(api.post("nodes/enrollments/").raise_for_status().json()["token"])


def within(seconds: float, is_true: Callable[[], object], what: str) -> float:
    return stack.wait_until(lambda: bool(is_true()), seconds=seconds, what=what)


def work_of(platform, node_id: str) -> list[dict]:
    with platform.api("operator") as api:
        return api.get(f"nodes/{node_id}/replicas/").raise_for_status().json()["results"]


def steer(platform, node_id: str, verb: str) -> dict:
    with platform.api("operator") as api:
        return api.post(f"nodes/{node_id}/{verb}/").raise_for_status().json()


def test_the_wheel_is_the_node_alone(installed):
    python = str(installed.bin / "python")
    for name, code in (("workers.cli", 0), ("django", 1), ("portal", 1), ("tasks", 1)):
        done = subprocess.run(
            [python, "-c", f"import {name}"], cwd=installed.home, check=False, capture_output=True
        )
        assert done.returncode == code, name


def test_an_operators_day(platform, submit, finish, installed, partner, record_testsuite_property):
    """Copied line -> paid in under a minute; paused and limited from the page; gone for good."""
    job_id = submit(images=2)
    copied_at = time.monotonic()
    enrolled = installed.run(
        *("enroll", "--portal", platform.stack.url, "--token", token(platform, "operator")),
        *("--name", "installed"),
    )
    assert enrolled.returncode == 0, enrolled.stderr
    installed.start()
    node_id = installed.node_id
    within(
        60,
        lambda: any(
            each["state"] == "accepted" and each["reward_state"]
            for each in work_of(platform, node_id)
        ),
        "the first paid work",
    )
    paid_seconds = time.monotonic() - copied_at
    record_testsuite_property("copied_line_to_paid_seconds", round(paid_seconds, 1))
    logger.info("copied line to paid: %.1f s", paid_seconds)
    assert paid_seconds < 60
    finish(job_id)

    assert installed.run("doctor").returncode == 0, installed.run("doctor").stdout
    assert installed.run("status").returncode == 0
    _pause_from_the_page(platform, installed)
    _receipts_empty_the_outbox(installed)
    _leave(platform, installed)


def _pause_from_the_page(platform, installed: Installed) -> None:
    steer(platform, installed.node_id, "pause")
    seconds = within(10, lambda: installed.state()["reason"] == "paused_on_page", "the pause")
    logger.info("pause on the page reached the node after %.2f s", seconds)
    steer(platform, installed.node_id, "resume")
    within(10, lambda: installed.state()["reason"] == "", "the end of the pause")


def _receipts_empty_the_outbox(installed: Installed) -> None:
    within(10, lambda: not list((installed.home / "outbox").glob("*.json")), "the receipts")


def _leave(platform, installed: Installed) -> None:
    node_id = installed.node_id
    refused = installed.run("leave", "--yes")
    assert (refused.returncode, "running already" in refused.stderr) == (1, True)
    installed.stop()
    assert installed.run("leave", "--yes").returncode == 0
    assert not (installed.home / "key.pem").exists()
    with platform.api("operator") as api:
        assert api.get(f"nodes/{node_id}/").json()["state"] == "retired"
