"""Does a chunk cost more when a million are in the tables already?

The same work, in a database with 10,000 past chunks that is made anew each round and in one
with 1,000,000, interleaved. A round's ratio is what a chunk cost in the big one over the
small one, all steps together; the figure is the median of the rounds. Nothing else runs:
the statements are called directly (`bench.growing`), for whatever surrounds them costs the
same with any past, and would hide what grows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from bench import measures, platform
from portal.demo import stack

SMALL, BIG = 10_000, 1_000_000
ROUNDS = 5
_RUN = "import django; django.setup(); from bench import growing; growing.main()"


class Databases:
    """Databases of one server, by name."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._url = environment["DATABASE_URL"]

    def create(self, name: str, *, template: str = "template1") -> None:
        """Make a database anew."""
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


def measure(databases: Databases, *, rounds: int, big: int) -> list[dict[str, dict[str, float]]]:
    """Return each round's microseconds a chunk, by size and step."""
    databases.create("empty")
    databases.run("empty", "manage.py", "migrate", "-v0")
    databases.run("empty", "manage.py", "declare_queues")
    databases.create("big", template="empty")
    started = time.monotonic()
    _costs(databases, "big", big)  # fills it, and is not counted
    platform.say(f"{big} chunks made in {time.monotonic() - started:.0f} s")
    found = []
    for number in range(rounds):
        databases.create("small", template="empty")
        sizes = [("small", SMALL), ("big", big)]
        costs = {
            name: _costs(databases, name, count)
            for name, count in (sizes if number % 2 else reversed(sizes))
        }
        found.append(costs)
        platform.say(
            f"round {number}: "
            + ", ".join(
                f"{step} {costs['small'][step]:.0f}/{costs['big'][step]:.0f}"
                for step in costs["small"]
            )
            + " us a chunk"
        )
    return found


def _costs(databases: Databases, name: str, count: int) -> dict[str, float]:
    printed = databases.run(name, "-c", _RUN, str(count))
    costs: dict[str, float] = json.loads(printed.splitlines()[-1])
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bin/bench growth")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--big", type=int, default=BIG, help="chunks in the big database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodefolk-bench-") as folder:
        data_dir = Path(folder)
        data_dir.chmod(0o711)  # so that the user postgres reaches its database
        servers = str(data_dir / "services")
        subprocess.run([platform.SERVICES, "start", servers], check=True, stdout=sys.stderr)
        try:
            environment = {
                **os.environ,
                **dict.fromkeys(stack.SERVER_VARIABLES, ""),
                "DATABASE_URL": stack.server_variables(Path(servers))["DATABASE_URL"],
                "NODEFOLK_DATA": str(data_dir / "data"),
                "NODEFOLK_LOG_LEVEL": "ERROR",
                "NODEFOLK_CHUNK_IMAGES_MAX": "1",
                "DJANGO_SETTINGS_MODULE": "portal.settings",
            }
            rounds = measure(Databases(environment), rounds=options.rounds, big=options.big)
        finally:
            subprocess.run([platform.SERVICES, "stop", servers], check=False, stdout=sys.stderr)
    ratios = [sum(each["big"].values()) / sum(each["small"].values()) for each in rounds]
    steps = {
        step: round(
            statistics.median(each["big"][step] / each["small"][step] for each in rounds), 2
        )
        for step in rounds[0]["small"]
    }
    platform.result(
        "growth",
        figures={"cost_ratio": round(statistics.median(ratios), 3), "chunks": options.big},
        noise={
            "cost_ratio": measures.spread(ratios),
            "by_step": steps,
            "us_a_chunk_small": measures.spread([sum(e["small"].values()) for e in rounds]),
            "us_a_chunk_big": measures.spread([sum(e["big"].values()) for e in rounds]),
        },
    )


if __name__ == "__main__":
    main()
