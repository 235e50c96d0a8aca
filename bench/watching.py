"""Times and explains the statements of `bench.growing`; one process with one database.

Called by `bench.statements` as `watching.main()` with a number of statements on the command
line; its last line is JSON.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection, transaction

from bench import growing


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


def main() -> None:
    """Measure and print."""
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
