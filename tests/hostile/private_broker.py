"""A RabbitMQ that one test file may starve, with the platform that runs on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from portal.demo import stack

SERVICES = str(stack.BASE_DIR / "bin" / "services")
Resource = Literal["memory", "disk space"]
#: How each alarm is raised, and what `bin/services` had set.
_LIMITS: dict[Resource, tuple[list[str], list[str]]] = {
    "memory": (
        ["set_vm_memory_high_watermark", "absolute", "1MB"],
        ["set_vm_memory_high_watermark", "absolute", "1GB"],
    ),
    "disk space": (["set_disk_free_limit", str(10**15)], ["set_disk_free_limit", "200MB"]),
}


@dataclass(frozen=True)
class PrivateBroker:
    """What `bin/services` started in `folder`."""

    folder: Path
    variables: dict[str, str]

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; return what it printed."""
        script = '. "$0/rabbitmq/env.sh" && exec rabbitmqctl --quiet "$@"'
        done = subprocess.run(
            ["bash", "-c", script, str(self.folder), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    @contextmanager
    def short_of(self, resource: Resource) -> Iterator[None]:
        """Make the broker believe that it has too little of something."""
        alarm, usual = _LIMITS[resource]
        try:
            self.control(*alarm)
            yield
        finally:
            self.control(*usual)

    @contextmanager
    def setting(self, **values: int) -> Iterator[None]:
        """Change settings that channels opened from now on obey."""
        before = {name: self.control("eval", _read(name)) for name in values}
        try:
            for name, value in values.items():
                self.control("eval", f"application:set_env(rabbit, {name}, {value}).")
            yield
        finally:
            for name, value in before.items():
                self.control("eval", f"application:set_env(rabbit, {name}, {value}).")

    def effective(self, name: str) -> str:
        """Return a setting as the running broker has it, as an Erlang term."""
        return self.control("eval", _read(name))

    def api(self, method: str, path: str, *, body: Any = None) -> Any:
        """Ask the management API; return its answer, None when there is none."""
        url = httpx.URL(self.variables["BROKER_MANAGEMENT_URL"])
        answer = httpx.request(
            method,
            url.copy_with(username=None, password=None, path=f"/api/{path}"),
            auth=(url.username, url.password),
            json=body,
            timeout=10,
        ).raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def started(folder: Path, *, certificates: Path | None = None) -> Iterator[PrivateBroker]:
    """Start PostgreSQL and RabbitMQ below `folder`; with certificates AMQP is by TLS only."""
    home = folder / "servers"
    options = ["--tls", str(certificates)] if certificates else []
    subprocess.run([SERVICES, "start", str(home), *options], check=True)
    try:
        if not (home / "rabbitmq" / "env.sh").exists():
            pytest.skip("RabbitMQ runs in a container, where its controls are out of reach")
        yield PrivateBroker(home, stack.server_variables(home))
    finally:
        subprocess.run([SERVICES, "stop", str(home)], check=True)
        elsewhere = home / "postgres.home"  # a database that root keeps for another user
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text().strip())


def _read(name: str) -> str:
    return f"{{ok, Value}} = application:get_env(rabbit, {name}), Value."
