"""The policy and the rules of the fleet, simulated: delivered error, extra work, makespan.

Every decision is made by the platform's own pure code (`tasks.verification`); machines come
and go, differ in the last digits, and cheat. A small fleet works for weeks, so that windows
end and sleepers wake; a fleet of 421,000 does one large job. Each tier stands beside a quorum
of two and BOINC's adaptive replication in the same world. Seeds make it repeatable. `--table`
prints every attack against every policy as Markdown.

Intervals are 95 %: bootstrapped over seeds, as what happens within one run hangs together (a
ring is caught or not); of rare errors at least as wide as Clopper and Pearson's over chunks.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from bench import measures, platform
from bench.simulation import cheats, kernel
from bench.simulation.baselines import Adaptive, Quorum
from bench.simulation.cheats import Cheat
from bench.simulation.policies import Ours
from bench.simulation.world import Policy, Scenario, World, extra_work
from tasks.verification import estimate

SEEDS = (1, 2, 3, 4, 5)
MACHINES = 300
#: Chunks of half an hour: a machine gives some 300 answers in the time simulated.
CHUNK_SECONDS = 1800.0
DAYS = 17
DAY = 86400.0
FLEET = 421_000
#: Machines of the large job that every policy does, with several seeds.
FLEET_OF_EACH = 4_000
#: Chunks of the large job for each machine that is there at its start.
CHUNKS_EACH = 16
FLEET_CHUNK_SECONDS = 60.0
#: With fewer wrong chunks than this, an interval over seeds alone would be too narrow.
RARE = 50

POLICIES: dict[str, Callable[[int], Policy]] = {
    "economy 1e-2": lambda _: Ours("1e-2"),
    "standard 1e-3": lambda _: Ours("1e-3"),
    "assured 1e-4": lambda _: Ours("1e-4"),
    "quorum of 2": lambda _: Quorum(),
    "BOINC adaptive": lambda seed: Adaptive(kernel.stream(seed, "adaptive")),
}
#: The cases that are promised: figure -> policy and share of sleepers.
PROMISED = {"5": ("standard 1e-3", 0.05), "20": ("assured 1e-4", 0.2)}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run came to."""

    #: Share of final results that are wrong, and wrong and all chunks behind it.
    error: float
    wrong: float
    final: int
    extra: float
    caught: float
    #: Answers between the first wrong one and being caught.
    answers_until_caught: float
    #: Shares of honest machines that were ever struck, and that are banned.
    honest_struck: float
    honest_banned: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One policy against one attack."""

    policy: str
    cheat: Cheat | None
    share: float


def work(
    policy: Policy, *, cheat: Cheat | None, share: float, seed: int, days: float = DAYS
) -> Outcome:
    """Let a small fleet work for `days` and say what was delivered."""
    scenario = Scenario(machines=MACHINES, chunk_seconds=CHUNK_SECONDS, cheat=cheat, cheats=share)
    world = World(scenario, policy, seed=seed)
    with _uncollected():
        world.run(until=days * DAY)
    liars = [each for each in world.machines if each.cheat and each.cheated_at is not None]
    caught = [each for each in liars if each.caught_at is not None]
    honest = [each for each in world.machines if each.cheat is None]
    return Outcome(
        error=world.tally.wrong / max(1, world.tally.final),
        wrong=world.tally.wrong,
        final=world.tally.final,
        extra=extra_work(world.tally),
        caught=len(caught) / len(liars) if liars else 1.0,
        answers_until_caught=(
            statistics.mean(each.caught_after - each.cheated_from for each in caught)
            if caught
            else math.nan
        ),
        honest_struck=sum(bool(each.strikes) for each in honest) / len(honest),
        honest_banned=sum(math.isinf(each.barred_until) for each in honest) / len(honest),
    )


def makespan(*, machines: int, seed: int, policy: str = "standard 1e-3") -> float:
    """Return the makespan of one large job over the ideal: all its work at full capacity.

    Its machines have records of up to 400 checks, as a fleet at work has.
    """
    probe = World(Scenario(machines=machines), POLICIES[policy](seed), seed=seed)
    there = sum(each.leaves_at > 0 for each in probe.machines)
    scenario = Scenario(
        machines=machines,
        chunks=CHUNKS_EACH * there,
        chunk_seconds=FLEET_CHUNK_SECONDS,
        checks_max=400,
    )
    world = World(scenario, POLICIES[policy](seed), seed=seed)
    with _uncollected():
        world.run(until=7 * DAY)
    ideal = CHUNKS_EACH * there * FLEET_CHUNK_SECONDS / world.capacity
    return world.agenda.now / ideal


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave the garbage collector off: it would look at millions of living objects for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _run(case: Case, seed: int) -> Outcome:
    return work(POLICIES[case.policy](seed), cheat=case.cheat, share=case.share, seed=seed)


def _makespan(policy: str, seed: int) -> float:
    return makespan(machines=FLEET_OF_EACH, seed=seed, policy=policy)


def run_all(
    cases: Sequence[Case], *, seeds: Sequence[int], pool: ProcessPoolExecutor
) -> list[list[Outcome]]:
    """Run each case once for each seed, on all processors."""
    every = [[pool.submit(_run, case, seed) for seed in seeds] for case in cases]
    return [[future.result() for future in futures] for futures in every]


def error_interval(found: Sequence[Outcome]) -> tuple[float, float]:
    """Return the interval of the delivered error; see the module."""
    low, high = measures.interval([each.error for each in found])
    wrong, final = math.ceil(sum(each.wrong for each in found)), sum(each.final for each in found)
    if wrong < RARE and (exact := estimate.of_audits(audits=final, failed=min(wrong, final))):
        high = max(high, exact.upper)
    return low, high


def row(case: Case, found: Sequence[Outcome]) -> str:
    """Return a case as a row of `HEAD`."""
    label = f"{case.share:.0%} {case.cheat.name}" if case.cheat else "none"
    low, high = error_interval(found)
    extra = [each.extra for each in found]
    least, most = measures.interval(extra)
    return (
        f"| {label} | {case.policy} | {statistics.mean(each.error for each in found):.1e} "
        f"[{low:.1e}, {high:.1e}] | {statistics.mean(extra):.1%} [{least:.1%}, {most:.1%}] "
        f"| {_mean_share(found, 'caught')} | {_until(found)} "
        f"| {_mean_share(found, 'honest_struck')} | {_mean_share(found, 'honest_banned')} |"
    )


HEAD = (
    "| attack | policy | delivered error | extra work | caught | answers until caught "
    "| honest struck | honest banned |\n|---|---|---|---|---|---|---|---|"
)


def _mean_share(found: Sequence[Outcome], name: str) -> str:
    return f"{statistics.mean(getattr(each, name) for each in found):.1%}"


def _until(found: Sequence[Outcome]) -> str:
    known = [each.answers_until_caught for each in found]
    known = [each for each in known if not math.isnan(each)]
    return f"{statistics.mean(known):.0f}" if known else "-"


def table(*, seeds: Sequence[int], pool: ProcessPoolExecutor) -> str:
    """Return attack by policy as Markdown."""
    attacks: list[tuple[Cheat | None, float]] = [(None, 0.0)]
    attacks += [(cheat, share) for share in (0.05, 0.2) for cheat in cheats.ALL]
    cases = [
        Case(policy=policy, cheat=cheat, share=share)
        for cheat, share in attacks
        for policy in POLICIES
    ]
    found = run_all(cases, seeds=seeds, pool=pool)
    return "\n".join([HEAD, *map(row, cases, found)])


def promised(
    *, seeds: Sequence[int], pool: ProcessPoolExecutor
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the promised cases' figures, and every policy beside them with intervals."""
    cases = [
        Case(policy=policy, cheat=cheats.SLEEPERS, share=share)
        for _, share in PROMISED.values()
        for policy in POLICIES
    ]
    found = dict(zip(cases, run_all(cases, seeds=seeds, pool=pool), strict=True))
    platform.say("\n".join([HEAD, *(row(case, found[case]) for case in cases)]))
    figures: dict[str, float] = {}
    beside: dict[str, object] = {}
    for label, (policy, share) in PROMISED.items():
        outcomes = found[Case(policy=policy, cheat=cheats.SLEEPERS, share=share)]
        figures[f"delivered_error_{label}"] = statistics.mean(each.error for each in outcomes)
        figures[f"extra_work_{label}"] = round(statistics.mean(e.extra for e in outcomes), 4)
    for case, outcomes in found.items():
        beside[f"{case.policy}, {case.share:.0%}"] = {
            "error": [round(end, 7) for end in error_interval(outcomes)],
            "extra": [round(end, 4) for end in measures.interval([e.extra for e in outcomes])],
        }
    return figures, beside


def makespans(*, seeds: Sequence[int], pool: ProcessPoolExecutor) -> dict[str, object]:
    """Return each policy's makespan over the ideal in a middling fleet, with its interval."""
    every = {
        policy: [pool.submit(_makespan, policy, seed) for seed in seeds] for policy in POLICIES
    }
    found = {policy: [future.result() for future in futures] for policy, futures in every.items()}
    for policy, values in found.items():
        low, high = measures.interval(values)
        mean = statistics.mean(values)
        platform.say(
            f"makespan, {FLEET_OF_EACH} machines, {policy}: {mean:.3f} [{low:.3f}, {high:.3f}]"
        )
    return {
        policy: [round(end, 4) for end in measures.interval(values)]
        for policy, values in found.items()
    }


def main() -> None:
    """Run the two cases that are promised, and the large job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=FLEET)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="runs of each case")
    parser.add_argument("--table", action="store_true", help="every attack against every policy")
    options = parser.parse_args()
    started = time.monotonic()
    seeds = range(1, options.seeds + 1)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        if options.table:
            print(table(seeds=seeds, pool=pool))
            return
        figures, beside = promised(seeds=seeds, pool=pool)
        noise: dict[str, object] = {**beside, "makespan": makespans(seeds=seeds, pool=pool)}
    ratio = makespan(machines=options.machines, seed=SEEDS[0])
    figures |= {"nodes": options.machines, "makespan_over_ideal": round(ratio, 4)}
    noise["seconds"] = round(time.monotonic() - started, 1)
    platform.result("fleet", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
