"""The policy and the rules of the fleet, simulated: delivered error, extra work, makespan.

Every decision is made by the platform's own pure code (`tasks.verification`); machines come
and go, differ in the last digits, and cheat. A small fleet works for weeks, so that windows
end and sleepers wake; a fleet of 421,000 does one large job. Seeds make it repeatable; the
intervals are over seeds. `--table` prints every attack against every tier as Markdown.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import measures, platform
from bench.simulation import cheats, kernel
from bench.simulation.baselines import Adaptive, Quorum
from bench.simulation.cheats import Cheat
from bench.simulation.policies import Ours
from bench.simulation.world import Policy, Scenario, World, extra_work

SEEDS = (1, 2, 3)
MACHINES = 300
#: Chunks of half an hour: a machine gives some 300 answers in the time simulated.
CHUNK_SECONDS = 1800.0
DAYS = 17
DAY = 86400.0
FLEET = 421_000
#: Chunks of the large job for each machine that is there at its start.
CHUNKS_EACH = 16
FLEET_CHUNK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run came to."""

    error: float
    extra: float
    caught: float
    #: Answers between the first wrong one and being caught.
    answers_until_caught: float
    final: int


def work(
    policy: Policy, *, cheat: Cheat | None, share: float, seed: int, days: float = DAYS
) -> Outcome:
    """Let a small fleet work for `days` and say what was delivered."""
    scenario = Scenario(machines=MACHINES, chunk_seconds=CHUNK_SECONDS, cheat=cheat, cheats=share)
    world = World(scenario, policy, seed=seed)
    world.run(until=days * DAY)
    liars = [each for each in world.machines if each.cheat and each.cheated_at is not None]
    caught = [each for each in liars if each.caught_at is not None]
    return Outcome(
        error=world.tally.wrong / max(1, world.tally.final),
        extra=extra_work(world.tally),
        caught=len(caught) / len(liars) if liars else 1.0,
        answers_until_caught=(
            statistics.mean(each.caught_after - each.cheated_from for each in caught)
            if caught
            else math.nan
        ),
        final=world.tally.final,
    )


def makespan(*, machines: int, seed: int) -> float:
    """Return the makespan of one large job over the ideal: all its work at full capacity.

    Its machines have records of up to 400 checks, as a fleet at work has.
    """
    probe = World(Scenario(machines=machines), Ours("1e-3"), seed=seed)
    there = sum(each.leaves_at > 0 for each in probe.machines)
    scenario = Scenario(
        machines=machines,
        chunks=CHUNKS_EACH * there,
        chunk_seconds=FLEET_CHUNK_SECONDS,
        checks_max=400,
    )
    world = World(scenario, Ours("1e-3"), seed=seed)
    world.run(until=7 * DAY)
    ideal = CHUNKS_EACH * there * FLEET_CHUNK_SECONDS / world.capacity
    return world.agenda.now / ideal


POLICIES: dict[str, Callable[[int], Policy]] = {
    "economy 1e-2": lambda _: Ours("1e-2"),
    "standard 1e-3": lambda _: Ours("1e-3"),
    "assured 1e-4": lambda _: Ours("1e-4"),
    "quorum of 2": lambda _: Quorum(),
    "BOINC adaptive": lambda seed: Adaptive(kernel.stream(seed, "adaptive")),
}


def each_seed(
    name: str, *, cheat: Cheat | None, share: float, seeds: Sequence[int]
) -> list[Outcome]:
    """Run one policy against one attack, once for each seed."""
    return [work(POLICIES[name](seed), cheat=cheat, share=share, seed=seed) for seed in seeds]


def table(seeds: Sequence[int]) -> str:
    """Return attack by policy as Markdown: error [least-most], extra work, caught."""
    attacks: list[tuple[str, Cheat | None, float]] = [("none", None, 0.0)]
    attacks += [
        (f"{share:.0%} {cheat.name}", cheat, share) for share in (0.05, 0.2) for cheat in cheats.ALL
    ]
    lines = [
        "| attack | policy | delivered error | extra work | caught | answers until caught |",
        "|---|---|---|---|---|---|",
    ]
    for label, cheat, share in attacks:
        for name in POLICIES:
            found = each_seed(name, cheat=cheat, share=share, seeds=seeds)
            errors = [each.error for each in found]
            until = [each.answers_until_caught for each in found]
            lines.append(
                f"| {label} | {name} | {statistics.mean(errors):.1e} "
                f"[{min(errors):.0e}, {max(errors):.0e}] "
                f"| {statistics.mean(each.extra for each in found):.1%} "
                f"| {statistics.mean(each.caught for each in found):.0%} "
                f"| {statistics.mean(until):.0f} |"
            )
            platform.say(lines[-1])
    return "\n".join(lines)


def main() -> None:
    """Run the two cases that are promised, and the large job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=FLEET)
    parser.add_argument("--table", action="store_true", help="every attack against every tier")
    options = parser.parse_args()
    started = time.monotonic()
    if options.table:
        print(table(SEEDS))
        return
    cases = {
        "5": ("standard 1e-3", cheats.SLEEPERS, 0.05),
        "20": ("assured 1e-4", cheats.SLEEPERS, 0.2),
    }
    figures: dict[str, float] = {"nodes": options.machines}
    noise: dict[str, object] = {}
    for label, (name, cheat, share) in cases.items():
        found = each_seed(name, cheat=cheat, share=share, seeds=SEEDS)
        figures[f"delivered_error_{label}"] = statistics.mean(each.error for each in found)
        figures[f"extra_work_{label}"] = round(statistics.mean(each.extra for each in found), 4)
        noise[f"delivered_error_{label}"] = measures.spread(
            [each.error for each in found], digits=7
        )
        noise[f"extra_work_{label}"] = measures.spread([each.extra for each in found], digits=4)
        platform.say(f"{share:.0%} {cheat.name}, {name}: {found}")
        for other in ("quorum of 2", "BOINC adaptive"):
            beside = each_seed(other, cheat=cheat, share=share, seeds=SEEDS[:1])[0]
            platform.say(f"  beside it, {other}: {beside}")
            noise[f"{other}_{label}"] = {
                "error": round(beside.error, 6),
                "extra": round(beside.extra, 4),
            }
    figures["makespan_over_ideal"] = round(makespan(machines=options.machines, seed=SEEDS[0]), 4)
    noise["seconds"] = round(time.monotonic() - started, 1)
    platform.result("fleet", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
