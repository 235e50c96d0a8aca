"""Databases of a private PostgreSQL, and processes that run with one of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from bench import platform
from portal.demo import stack


class Databases:
    """Databases of one server, by name."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._url = environment["DATABASE_URL"]

    def create(self, name: str, *, template: str = "template1") -> None:
        """Make a database anew, empty or as a copy."""
        with_server = psycopg2.connect(self._url)
        with_server.autocommit = True
        with with_server.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        with_server.close()

    def run(self, name: str, *arguments: str) -> str:
        """Run Python in a process with this database; return what it printed."""
        url = urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
        return subprocess.run(
            [sys.executable, *arguments],
            env={**self._environment, "DATABASE_URL": url},
            cwd=stack.BASE_DIR,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def fill(self, name: str, *, chunks: int) -> None:
        """Make a database of the platform with so many past chunks."""
        self.create(name)
        self.run(name, "manage.py", "migrate", "-v0")
        self.run(name, "manage.py", "declare_queues")
        self.run(name, "-c", FILL, str(chunks))


#: What a process of `run` does; the number of past chunks is its argument.
FILL = "import django; django.setup(); from bench import growing; growing.fill()"


@contextmanager
def started() -> Iterator[Databases]:
    """Start servers for a while; chunks are of one picture."""
    with tempfile.TemporaryDirectory(prefix="nodefolk-bench-") as folder:
        data_dir = Path(folder)
        data_dir.chmod(0o711)  # so that the user postgres reaches its database
        servers = str(data_dir / "services")
        subprocess.run([platform.SERVICES, "start", servers], check=True, stdout=sys.stderr)
        try:
            yield Databases(
                {
                    **os.environ,
                    **dict.fromkeys(stack.SERVER_VARIABLES, ""),
                    "DATABASE_URL": stack.server_variables(Path(servers))["DATABASE_URL"],
                    "NODEFOLK_DATA": str(data_dir / "data"),
                    "NODEFOLK_LOG_LEVEL": "ERROR",
                    "NODEFOLK_CHUNK_IMAGES_MAX": "1",
                    "DJANGO_SETTINGS_MODULE": "portal.settings",
                }
            )
        finally:
            subprocess.run([platform.SERVICES, "stop", servers], check=False, stdout=sys.stderr)
