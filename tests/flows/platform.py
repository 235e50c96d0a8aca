"""A whole platform of real processes for flow tests, on the broker and database given."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.demo import sample, stack
from tests import factories
from tests.flows.puppet import Puppet
from tests.servers import own_broker, own_database

#: Short, so that a dead node's work is re-sent within a test's patience.
LEASE_SECONDS = 4
OPERATORS = 5


@dataclass
class Platform:
    """Running processes, their environment, and the logins of the cast."""

    stack: stack.Stack
    logins: Mapping[str, Mapping[str, Any]]
    #: Role and node of each puppet that was enrolled.
    puppets: list[tuple[str, str]] = field(default_factory=list)

    def api(self, role: str = "client"):
        """Open the API as one of the cast."""
        return sample.session(url=self.stack.url, api_key=self.logins[role]["api_key"])

    def python(self, code: str, **variables: str) -> Any:
        """Run code inside the platform's settings; it prints one JSON document."""
        prelude = "import django, json; django.setup()\n"
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            env={
                **self.stack.environment,
                "DJANGO_SETTINGS_MODULE": "portal.settings",
                **variables,
            },
            cwd=stack.BASE_DIR,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=dict(self.stack.environment),
            cwd=stack.BASE_DIR,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def assert_sound(self) -> None:
        """Let the doctor look: every invariant of money and work holds."""
        done = self.manage("doctor")
        assert done.returncode == 0, done.stdout + done.stderr

    def puppet(self, number: int) -> Puppet:
        """Enrol a node of the operator `number` (1..OPERATORS), driven by the test."""
        role = "operator" if number == 1 else f"operator-{number}"
        with self.api(role) as api:
            token = api.post("nodes/enrollments/").raise_for_status().json()["token"]
        puppet = Puppet.enroll(url=self.stack.url, token=token)
        self.puppets.append((role, puppet.node_id))
        return puppet

    def dismiss(self, puppets: Sequence[tuple[str, str]]) -> None:
        """Retire puppets, so that no later job waits for them."""
        for role, node_id in puppets:
            with self.api(role) as api:
                api.post(f"nodes/{node_id}/retire/")

    def submit(self, *, images: int = 1, **fields: Any) -> str:
        """Buy a job on `images` small pictures as the client; return its id."""
        folder = self.stack.data_dir / f"pictures-{secrets.token_hex(4)}"
        folder.mkdir()
        photos = []
        for number in range(images):
            photos.append(folder / f"{number}.png")
            photos[-1].write_bytes(factories.picture(color=(number, 5, 9)))
        with self.api() as api:
            dataset = sample.upload(api, name="small", photos=photos)
            # Two fresh nodes suffice at this tier.
            fields.setdefault("target_error", "1e-2")
            return str(sample.submit(api, dataset=dataset, **fields)["id"])

    def finish(self, job_id: str, *, seconds: float = 60) -> Any:
        """Wait for a job's end and return what the client got."""
        with self.api() as api:
            return sample.finish(api, job_id=job_id, seconds=seconds)

    def events(self, job_id: str) -> list[str]:
        """Return the codes of what happened to a job, oldest first."""
        with self.api() as api:
            rows = api.get(f"jobs/{job_id}/events/", params={"limit": 100}).json()["results"]
        return [row["code"] for row in reversed(rows)]


@contextmanager
def running(
    data_dir: Path,
    *,
    servers: Mapping[str, str] | None = None,
    port: int = 0,
    public_url: str = "",
) -> Iterator[Platform]:
    """Start portal, ingest, worker and beat.

    On the servers given, or on a fresh database and virtual host of the servers that the
    tests run on; `public_url` is of what stands before the portal's `port`.
    """
    servers = servers or {**own_database(), **own_broker()}
    port = port or stack.free_port()
    environment = {
        **_own_environment(),
        "NODEFOLK_DATA": str(data_dir),
        "NODEFOLK_PUBLIC_URL": public_url or f"http://127.0.0.1:{port}",
        "NODEFOLK_LEASE_SECONDS": str(LEASE_SECONDS),
        # Puppets do not know what gold shows; the test of cheats makes its own.
        "NODEFOLK_GOLD_STOCK": "0",
        "PYTHONUNBUFFERED": "1",
        **servers,
    }
    running_stack = stack.Stack(
        data_dir=data_dir, environment=environment, port=port, public_url=public_url
    )
    platform = Platform(stack=running_stack, logins={})
    for command in (("migrate", "-v0"), ("install_models",)):
        done = platform.manage(*command)
        assert done.returncode == 0, done.stderr
    platform.logins = platform.python(_CAST)
    try:
        running_stack.start_platform()
        yield platform
    finally:
        running_stack.stop_all()


_CAST = f"""
from dataclasses import asdict
from datetime import UTC, datetime
from portal.demo import cast
from tasks import broker
broker.declare_topology()
logins = cast.prepare(nodes={OPERATORS}, now=datetime.now(UTC))
print(json.dumps({{name: asdict(login) for name, login in logins.items()}}))
"""


def _own_environment() -> dict[str, str]:
    """Return this process's variables but for the one that browser tests need in it."""
    return {name: value for name, value in os.environ.items() if "ASYNC_UNSAFE" not in name}
