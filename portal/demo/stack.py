"""Start the platform's processes and nodes on this machine, and stop every one of them."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tasks import queues

logger = logging.getLogger(__name__)

BASE_DIR = Path(__file__).resolve().parent.parent.parent
#: How long a process may take to stop before it is killed, seconds.
STOP_SECONDS_MAX = 15.0
#: Between a process's death and its restart, seconds.
RESTART_SECONDS = 1.0


#: What `bin/services` sets; without it the demo uses none of them.
SERVER_VARIABLES = (
    "DATABASE_URL",
    "BROKER_URL",
    "BROKER_INGEST_URL",
    "BROKER_MANAGEMENT_URL",
    "BROKER_NODE_URL",
    "BROKER_AUTHORITY",
)


class NotReady(Exception):
    """Something did not become ready in time; the message says where to look."""


@dataclass
class Process:
    """One child process; its output goes to a log file of its own."""

    name: str
    argv: Sequence[str]
    log_path: Path
    popen: subprocess.Popen[bytes]
    #: When a dead one may be started again, monotonic seconds.
    restart_at: float | None = None


@dataclass
class Stack:
    """A set of processes that share an environment and a data folder."""

    data_dir: Path
    environment: Mapping[str, str]
    port: int
    #: Readers of what nodes send, side by side.
    ingest_processes: int = 1
    #: Of a proxy that ends TLS before the portal; without one the portal's own.
    public_url: str = ""
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the portal answers."""
        return self.public_url or f"http://127.0.0.1:{self.port}"

    def start(self, name: str, argv: Sequence[str]) -> Process:
        """Start a process in a session of its own.

        A terminal's Ctrl-C then reaches only us, and we stop the others in order. Should we
        be killed outright, the kernel ends them (`setpriv --pdeathsig`, Linux).
        """
        log_path = self.data_dir / "logs" / f"{name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with log_path.open("ab") as log:
            popen = subprocess.Popen(  # noqa: S603  # our own programs, no shell
                [*guard, *argv],
                env=dict(self.environment),
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = Process(name=name, argv=argv, log_path=log_path, popen=popen)
        self.processes[name] = process
        return process

    def start_platform(self) -> None:
        """Start portal, ingest, both workers and beat, and wait until the portal answers.

        With RabbitMQ the authority first: without it no node can log in.
        """
        if self.environment.get("BROKER_AUTHORITY"):
            self.start_authority()
        self.start("portal", portal_argv(self.port))
        self.start("ingest", self.ingest_argv())
        self.start("worker", worker_argv(queues.WORK.name))
        self.start("referee", worker_argv(queues.REFEREE.name))
        self.start("beat", celery_argv("beat", "--pidfile", ""))
        wait_until(self._answers, seconds=60, what=f"the portal, see {self.log_of('portal')}")

    def ingest_argv(self) -> list[str]:
        """Return what reads what nodes send."""
        several = ["--processes", str(self.ingest_processes)] if self.ingest_processes > 1 else []
        return [sys.executable, "manage.py", "ingest", *several]

    def start_authority(self) -> None:
        """Start what RabbitMQ asks about nodes, and wait until it listens."""
        self.start("authority", [sys.executable, "manage.py", "authority"])
        wait_until(self._authority_listens, seconds=60, what="the authority")

    def start_node(self, number: int) -> Process:
        """Start an enrolled node."""
        return self.start(
            f"node-{number}", node_argv(self.node_home(number), "run", "--priority", "low")
        )

    def node_home(self, number: int) -> Path:
        """Return the home folder of node `number`."""
        return self.data_dir / "nodes" / f"node-{number}"

    def log_of(self, name: str) -> Path:
        """Return where the output of a process is."""
        return self.data_dir / "logs" / f"{name}.log"

    def restart_dead(self, *, now_seconds: float) -> list[str]:
        """Start again what has died a second ago; return the names of the newly dead."""
        newly_dead = []
        for process in list(self.processes.values()):
            if process.popen.poll() is None:
                continue
            if process.restart_at is None:
                process.restart_at = now_seconds + RESTART_SECONDS
                newly_dead.append(process.name)
            elif now_seconds >= process.restart_at:
                self.start(process.name, process.argv)
        return newly_dead

    def stop(self, name: str, *, sig: int = signal.SIGTERM) -> None:
        """Stop one process and wait for it."""
        process = self.processes.pop(name)
        _signal(process, sig)
        _reap(process)

    def stop_all(self) -> None:
        """Stop everything: nodes first, so that they can hand back what they hold.

        Each gets two signals, as the second one ends a node's chunk at once.
        """
        nodes = [each for name, each in self.processes.items() if name.startswith("node-")]
        others = [each for each in self.processes.values() if each not in nodes]
        for group in (nodes, others):
            for process in group:
                _signal(process, signal.SIGTERM)
            for process in group:
                _reap(process)
        self.processes.clear()

    def _authority_listens(self) -> bool:
        host, _, port = self.environment["BROKER_AUTHORITY"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/health/live", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


_NO_GOSSIP = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def portal_argv(port: int) -> list[str]:
    """Return the portal's command: granian, WSGI, two threads (fastest of those measured)."""
    return [
        str(Path(sys.executable).with_name("granian")),
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--blocking-threads", "4", "--no-ws", "portal.wsgi:application"),
    ]


def celery_argv(command: str, *arguments: str) -> list[str]:
    """Return a command of the platform's Celery app."""
    return [
        *(sys.executable, "-m", "celery", "-A", "tasks.celery", command),
        *("--loglevel", "INFO", *arguments),
    ]


def worker_argv(queue: str) -> list[str]:
    """Return the command of a worker that reads this queue alone."""
    return celery_argv("worker", "--pool", "solo", "--queues", queue, *_NO_GOSSIP)


def node_argv(home: Path, *arguments: str) -> list[str]:
    """Return a command of the node's program."""
    return [sys.executable, "-m", "workers.cli", "--home", str(home), *arguments]


def server_variables(folder: Path) -> dict[str, str]:
    """Return the variables that point to the servers `bin/services` started in `folder`."""
    program = str(BASE_DIR / "bin" / "services")
    printed = subprocess.run(  # noqa: S603  # our own program, no shell
        [program, "env", str(folder)], check=True, capture_output=True, text=True
    ).stdout
    pairs = (line.removeprefix("export ").partition("=") for line in printed.splitlines())
    return {name: value.strip("'\"") for name, _, value in pairs if name}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Say whether the portal could listen on `port`."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Poll `condition` until it is true; return the seconds it took.

    Raises:
        NotReady: it did not happen in time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise NotReady(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(0.05)
    return time.monotonic() - started


def _signal(process: Process, sig: int) -> None:
    """Signal the process itself; those it started are its own to stop."""
    if process.popen.poll() is None:
        process.popen.send_signal(sig)


def _reap(process: Process) -> None:
    """Wait for the end; kill the whole session if it does not come."""
    try:
        process.popen.wait(timeout=STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        logger.warning("%s does not stop; killed", process.name)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.popen.pid, signal.SIGKILL)  # a session's id is its leader's pid
    process.popen.wait()
