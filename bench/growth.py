"""Does a chunk cost more when a million are in the tables already?

The same work, in a database with 10,000 past chunks and in one with 1,000,000, interleaved;
both are made anew each round, as copies. A round's ratio is what a chunk cost in the big one
over the small one, all steps together; the figure is the median of the rounds. Nothing else
runs: the statements are called directly (`bench.growing`), for whatever surrounds them costs
the same with any past, and would hide what grows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from bench import databases, measures, platform

SIZES = {"small": 10_000, "big": 1_000_000}
ROUNDS = 5
_MEASURE = "import django; django.setup(); from bench import growing; growing.main()"


def measure(
    on: databases.Databases, *, rounds: int, sizes: dict[str, int]
) -> list[dict[str, dict[str, float]]]:
    """Return each round's microseconds a chunk, by size and step."""
    for name, chunks in sizes.items():
        started = time.monotonic()
        on.fill(name, chunks=chunks)
        platform.say(f"{chunks} chunks made in {time.monotonic() - started:.0f} s")
    found = []
    for number in range(rounds):
        costs = {}
        for name in sizes if number % 2 else reversed(sizes):
            on.create("copy", template=name)
            costs[name] = json.loads(on.run("copy", "-c", _MEASURE).splitlines()[-1])
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bin/bench growth")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--big", type=int, default=SIZES["big"], help="chunks in the big database")
    options = parser.parse_args()
    with databases.started() as on:
        rounds = measure(on, rounds=options.rounds, sizes={**SIZES, "big": options.big})
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
