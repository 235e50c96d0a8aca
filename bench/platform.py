"""A platform on private servers for one benchmark run, and how its result is printed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portal.demo import stack

SERVICES = stack.BASE_DIR / "bin" / "services"


@contextmanager
def running(
    *,
    with_servers: bool = True,
    variables: Mapping[str, str] | None = None,
    ingest_processes: int = 1,
) -> Iterator[stack.Stack]:
    """Start portal, ingest, worker and beat; stop and remove all.

    `variables` are set in the environment of all. On private PostgreSQL and RabbitMQ, or on
    SQLite and the broker made of files.
    """
    with tempfile.TemporaryDirectory(prefix="nodefolk-bench-") as folder:
        data_dir = Path(folder)
        data_dir.chmod(0o711)  # so that the user postgres reaches its database
        servers = str(data_dir / "services")
        if with_servers:
            subprocess.run([SERVICES, "start", servers], check=True, stdout=sys.stderr)
        port = stack.free_port()
        environment = {
            **os.environ,
            **dict.fromkeys(stack.SERVER_VARIABLES, ""),
            **(stack.server_variables(Path(servers)) if with_servers else {}),
            "NODEFOLK_DATA": str(data_dir / "data"),
            "NODEFOLK_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "NODEFOLK_LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            **(variables or {}),
        }
        running_stack = stack.Stack(
            data_dir=data_dir,
            environment=environment,
            port=port,
            ingest_processes=ingest_processes,
        )
        try:
            for command in (["migrate", "-v0"], ["declare_queues"], ["install_models"]):
                subprocess.run(
                    [sys.executable, "manage.py", *command],
                    env=environment,
                    check=True,
                    stdout=sys.stderr,
                )
            running_stack.start_platform()
            yield running_stack
        finally:
            running_stack.stop_all()
            if with_servers:
                subprocess.run([SERVICES, "stop", servers], check=False, stdout=sys.stderr)


def python(running_stack: stack.Stack, code: str) -> Any:
    """Run code inside the platform's settings; its last line is one JSON document."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django, json; django.setup()\n{code}"],
        env=dict(running_stack.environment),
        cwd=stack.BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def server_pids(running_stack: stack.Stack) -> dict[str, list[int]]:
    """Return the processes of PostgreSQL and RabbitMQ; what they started are their children."""
    folder = running_stack.data_dir / "services" / "pids"
    return {path.name: [int(path.read_text().split()[0])] for path in sorted(folder.iterdir())}


def profile_ingest(running_stack: stack.Stack, output: str) -> None:
    """Start ingest anew under cProfile; the figures of such a run are no figures."""
    running_stack.stop("ingest")
    profiler = [sys.executable, "-m", "cProfile", "-o", output]
    running_stack.start("ingest", [*profiler, "manage.py", "ingest"])


def say(line: str) -> None:
    """Print progress, away from the result."""
    print(line, file=sys.stderr, flush=True)


def result(name: str, *, figures: Mapping[str, Any], noise: Mapping[str, Any]) -> None:
    """Print the one line that is read by others."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(json.dumps({"bench": name, "figures": figures, "noise": noise, "machine": machine}))
