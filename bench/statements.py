"""Which SQL statements does a chunk spend its time in, and how does PostgreSQL plan them?

A job's chunks go from ready to paid as in `bench.growth`, with a long past in the tables. Each
statement's time is what the caller waits for it, so with planning and the way to the server.
The slowest are then run once more under EXPLAIN ANALYZE, and undone.

    bin/bench statements [--past 100000] [--top 12]
"""

from __future__ import annotations

import argparse
import json

from bench import databases, platform

PAST, TOP = 100_000, 12
_INSIDE = "import django; django.setup(); from bench import watching; watching.main()"
#: Words of a statement that say which one it is; the rest of a long one is left out.
_WIDTH = 110


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
