"""Which SQL statements does a chunk spend its time in, and how does PostgreSQL plan them?

A job's chunks go from ready to paid as in `bench.growth`, with a long past in the tables. Each
statement's time is what the caller waits for it, so with planning and the way to the server.
The slowest are then run once more under EXPLAIN ANALYZE, and undone.

    bin/bench statements [--past 100000] [--top 12]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection, transaction

from bench import databases, growing, platform

PAST, TOP = 100_000, 12
_INSIDE = "import django; django.setup(); from bench import statements; statements.inside()"
#: Words of a statement that say which one it is; the rest of a long one is left out.
_WIDTH = 110


class Watch:
    """Times every statement; explains those it is told of, once each."""

    def __init__(self) -> None:
        self.milliseconds: defaultdict[str, list[float]] = defaultdict(list)
        self.wanted: set[str] = set()
        self.plans: dict[str, list[str]] = {}

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,  # noqa: FBT001  # Django's own order of arguments
        context: Mapping[str, Any],
    ) -> Any:
        """Be a wrapper of Django's cursor."""
        name = named(sql)
        if name in self.wanted:
            self.wanted.discard(name)
            self.plans[name] = self._explain(sql, params)
        started = time.perf_counter()
        result = execute(sql, params, many, context)
        self.milliseconds[name].append((time.perf_counter() - started) * 1000)
        return result

    def _explain(self, sql: str, params: Any) -> list[str]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}", params)
            plan = [line for (line,) in cursor.fetchall()]
            transaction.set_rollback(True)
        return plan

    def slowest(self, top: int) -> list[str]:
        """Return the statements that took the longest, all their runs together."""
        return sorted(self.milliseconds, key=lambda name: -sum(self.milliseconds[name]))[:top]


def named(sql: str) -> str:
    """Make one name of a statement, however many values it is given."""
    text = re.sub(r"\s+", " ", sql.strip())
    return re.sub(r"(?:\(?%s\)?(?:::\w+(?:\[\])?)?(?:, )?)+", "%s", text)


def inside() -> None:
    """Run in the process that has the database; print JSON."""
    top = int(sys.argv[1])
    watch = Watch()
    with connection.execute_wrapper(watch):
        growing.measure()
        chunks = growing.WARM_UP + growing.CHUNKS
        rows = [
            {
                "statement": name,
                "calls": len(watch.milliseconds[name]),
                "median_ms": round(statistics.median(watch.milliseconds[name]), 2),
                "us_a_chunk": round(sum(watch.milliseconds[name]) * 1000 / chunks, 1),
            }
            for name in watch.slowest(top)
        ]
        total = sum(map(sum, watch.milliseconds.values())) * 1000 / chunks
        watch.wanted = set(watch.slowest(top))
        growing.measure()
    for row in rows:
        row["plan"] = watch.plans.get(row["statement"], [])
    print(json.dumps({"rows": rows, "us_a_chunk": round(total)}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bin/bench statements")
    parser.add_argument("--past", type=int, default=PAST, help="chunks in the tables")
    parser.add_argument("--top", type=int, default=TOP, help="statements to list")
    options = parser.parse_args()
    with databases.started() as on:
        on.fill("past", chunks=options.past)
        found = json.loads(on.run("past", "-c", _INSIDE, str(options.top)).splitlines()[-1])
    for place, row in enumerate(found["rows"], start=1):
        platform.say(
            f"\n{place}. {row['us_a_chunk']} us a chunk, {row['calls']} calls,"
            f" median {row['median_ms']} ms: {row['statement'][:_WIDTH]}"
        )
        for line in row["plan"]:
            platform.say(f"     {line[:160]}")
    listed = [
        {**row, "statement": row["statement"][:_WIDTH], "plan": len(row["plan"])}
        for row in found["rows"]
    ]
    platform.result(
        "statements",
        figures={"past": options.past, "us_a_chunk": found["us_a_chunk"], "slowest": listed},
        noise={"runs": 1},
    )


if __name__ == "__main__":
    main()
