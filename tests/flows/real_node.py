"""A real node of a running platform: enrolled, started, frozen, asked, by its own commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import processes
from portal.demo import stack
from tests.flows.platform import Platform
from tests.flows.puppet import Puppet
from workers.config import Home

READY_SECONDS = 120


@dataclass
class RealNode:
    """Process, folder and platform of one node."""

    platform: Platform
    number: int
    home: Home

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def pid(self) -> int:
        return self.platform.stack.processes[self.name].popen.pid

    @property
    def node_id(self) -> str:
        return str(self.config["node_id"])

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.home.config_file.read_text())
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            stack.node_argv(self.home.root, *arguments),
            cwd=stack.BASE_DIR,
            env=dict(self.platform.stack.environment),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self) -> None:
        self.platform.stack.start_node(self.number)
        self.wait(lambda state: state["reason"] == "" and state["cached_models"], "to be ready")

    def stop(self) -> None:
        if self.name in self.platform.stack.processes:
            self.platform.stack.stop(self.name)

    def state(self) -> dict[str, Any]:
        """Return what the node itself says, nothing of an earlier process."""
        try:
            found: dict[str, Any] = json.loads(self.home.state_file.read_text())
        except FileNotFoundError:
            return {}
        return found if found["pid"] == self.pid else {}

    def wait(
        self,
        is_so: Callable[[dict[str, Any]], object],
        what: str,
        *,
        seconds: float = READY_SECONDS,
    ) -> float:
        def holds() -> bool:
            state = self.state()
            return bool(state and is_so(state))

        return stack.wait_until(holds, seconds=seconds, what=f"{self.name} {what}")

    def freeze(self) -> None:
        """Stop the clockwork of the node and its rooms, as a machine's sleep does."""
        for pid in processes.tree(self.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in processes.tree(self.pid):
            with contextlib.suppress(ProcessLookupError):  # a room its node closed, just awake
                os.kill(pid, signal.SIGCONT)

    def log(self) -> str:
        return self.home.log_file.read_text()

    def row(self, *names: str) -> list[Any]:
        """Return columns of the platform's row of this node."""
        fields = ", ".join(repr(name) for name in names)
        found: list[Any] = self.platform.python(
            "from tasks.models import Node\n"
            f"row = Node.objects.filter(pk={self.node_id!r}).values_list({fields}).get()\n"
            "print(json.dumps(list(row), default=str))"
        )
        return found

    def worked(self, job_id: str) -> list[str]:
        """Return the states of this node's replicas of a job, oldest first."""
        found: list[str] = self.platform.python(
            "from tasks.models import Replica\n"
            f"rows = Replica.objects.filter(job_id={job_id!r}, node_id={self.node_id!r})\n"
            "print(json.dumps(list(rows.order_by('pk').values_list('state', flat=True))))"
        )
        return found

    def work_with(self, partner: Puppet) -> None:
        """Do a job together with another owner's puppet, and be right."""
        partner.beat()
        job_id = self.platform.submit()
        partner.work(job_id, found=[])  # the small pictures are of one colour
        assert self.platform.finish(job_id).job["state"] == "finished"
        assert self.worked(job_id) == ["accepted"]


def prepare(platform: Platform, number: int) -> RealNode:
    """Make the folder of a node that is not enrolled.

    A number is not used twice in a run: the tests of keys, absences, networks, TLS and cheats
    have tens of their own.
    """
    home = Home(platform.stack.node_home(number))
    home.root.mkdir(parents=True, mode=0o700)
    # A laptop that runs these tests on battery would rest.
    home.limits_file.write_text("battery = true\n")
    return RealNode(platform, number, home)


def enroll(platform: Platform, number: int, *, role: str = "operator") -> RealNode:
    """Enrol a node by its own command."""
    node = prepare(platform, number)
    with platform.api(role) as api:
        token = api.post("nodes/enrollments/").raise_for_status().json()["token"]
    done = node.command(
        "enroll", "--portal", platform.stack.url, "--token", token, "--name", node.name
    )
    assert done.returncode == 0, done.stderr
    return node


@contextmanager
def started(node: RealNode, *, role: str = "operator") -> Iterator[RealNode]:
    """Start an enrolled node; stop and retire it, so that no later job waits for it."""
    try:
        node.start()
        yield node
    finally:
        node.stop()
        with node.platform.api(role) as api:
            api.post(f"nodes/{node.node_id}/retire/")


@contextmanager
def running(platform: Platform, number: int, *, role: str = "operator") -> Iterator[RealNode]:
    """Enrol and start a node; see `started`."""
    with started(enroll(platform, number, role=role), role=role) as node:
        yield node
