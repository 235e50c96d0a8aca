"""How much do a few bad nodes hold up a job? Real platform, real leases of 45 seconds.

Twelve nodes of twelve owners (`bench.timed_nodes`: a node's own mind, messages and leases;
computing is waiting, so that the two cores are not what is measured). In each round, while
a job runs, one is killed, one is stopped (SIGSTOP: its connection stays open), and one takes
ten times as long from the start. Their records are long, so that one answer is believed.

`resend_s`: from the death of a node that held chunks (killed or stopped) to their being given
to another, over all of them the longest. `p99_over_p50`: of the time from a chunk's first
assignment to its result. `makespan_over_ideal`: over nodes that always knew what to do next.

    bin/bench tail [--rounds 3] [--chunks 320]
"""

from __future__ import annotations

import argparse
import base64
import json
import signal
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import light_fleet, measures, platform, timed_nodes
from portal.demo import sample, stack
from workers.protocol import signatures

NODES = 12
SLOW, KILLED, STOPPED = 0, 1, 2
SLOWNESS = 10.0
PICTURE_SECONDS = 2.0
#: When the faults happen, seconds after the first assignment: another moment each round, as
#: a lease's age at its node's death is what the time to re-send depends on.
FAULTS_AT = (6.0, 11.0, 16.0)
JOB_SECONDS_MAX = 400

#: Each chunk's first assignment and result, seconds.
_CHUNKS = """
SELECT extract(epoch FROM min(r.assigned_at))::float8, extract(epoch FROM c.decided_at)::float8
FROM tasks_chunk c JOIN tasks_replica r ON r.chunk_id = c.id
WHERE c.job_id = %s GROUP BY c.id
"""
#: Chunks a node held when it died, unanswered by then, and when another node got each.
_RESENT = """
SELECT c.index, extract(epoch FROM min(later.assigned_at))::float8
FROM tasks_replica held
JOIN tasks_chunk c ON c.id = held.chunk_id
LEFT JOIN tasks_replica later ON later.chunk_id = held.chunk_id
    AND later.node_id <> held.node_id AND later.assigned_at >= to_timestamp(%(died)s)
WHERE held.job_id = %(job)s AND held.node_id = %(node)s
    AND held.assigned_at < to_timestamp(%(died)s)
    AND (held.reported_at IS NULL OR held.reported_at >= to_timestamp(%(died)s))
    AND (c.decided_at IS NULL OR c.decided_at >= to_timestamp(%(died)s))
GROUP BY c.index
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one job under faults came to, seconds."""

    resend: list[float]
    latencies: list[float]
    makespan: float
    ideal: float
    #: Replicas given out for each chunk.
    replicas: float

    @property
    def p99_over_p50(self) -> float:
        """The slowest hundredth of the chunks over the middle one."""
        p50 = measures.percentile(self.latencies, share=0.5)
        return measures.percentile(self.latencies, share=0.99) / p50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunks", type=int, default=320)
    options = parser.parse_args()
    # The lease is the production one, whatever the caller's environment says.
    variables = {
        "NODEFOLK_SMOKE_CHUNKS_MIN": "1000000",
        "NODEFOLK_CHUNK_IMAGES_MAX": "1",
        "NODEFOLK_LEASE_SECONDS": "",
    }
    keys = [Ed25519PrivateKey.generate() for _ in range(NODES)]
    with platform.running(variables=variables) as running:
        prepared = light_fleet.prepare(
            running,
            chunks=options.chunks,
            publics=[signatures.public_text(key) for key in keys],
        )
        plans = [_plan(place, prepared, key) for place, key in enumerate(keys)]
        rounds = []
        for number in range(options.rounds):
            fault_at = FAULTS_AT[number % len(FAULTS_AT)]
            one = measure(running, prepared, plans, chunks=options.chunks, fault_at=fault_at)
            rounds.append(one)
            platform.say(
                f"round {number}: {len(one.resend)} chunks re-sent after"
                f" {', '.join(f'{each:.1f}' for each in one.resend)} s;"
                f" p99/p50 {one.p99_over_p50:.2f}; makespan {one.makespan:.1f} s,"
                f" ideal {one.ideal:.1f} s; {one.replicas:.3f} replicas a chunk"
            )
    _report(rounds)


def measure(
    running: stack.Stack,
    prepared: dict[str, Any],
    plans: list[timed_nodes.Plan],
    *,
    chunks: int,
    fault_at: float,
) -> Round:
    """Run one job with its three faults."""
    database = psycopg2.connect(running.environment["DATABASE_URL"])
    database.autocommit = True
    fleet = timed_nodes.start(plans)
    try:
        with sample.session(url=running.url, api_key=prepared["client"]) as api:
            job_id = sample.submit(
                api, dataset=prepared["dataset"], model=prepared["model"], target_error="1e-3"
            )["id"]
            time.sleep(fault_at)
            died = {KILLED: fleet.signal(KILLED, signal.SIGKILL)}
            died[STOPPED] = fleet.signal(STOPPED, signal.SIGSTOP)
            job = _wait(api, job_id)
    finally:
        fleet.stop()
    found = _read(database, job_id, plans, died)
    database.close()
    begun, ended = (
        datetime.fromisoformat(job["timing"][key]).timestamp()
        for key in ("submitted_at", "finished_at")
    )
    ideal = measures.ideal_seconds(
        chunks=chunks,
        chunk_seconds=PICTURE_SECONDS,
        slowness=[plan.picture_seconds / PICTURE_SECONDS for plan in plans],
        lost_at=[died[place] - begun if place in died else None for place in range(len(plans))],
    )
    return Round(
        resend=found["resend"],
        latencies=found["latencies"],
        makespan=ended - begun,
        ideal=ideal,
        replicas=job["replicas"] / chunks,
    )


def _wait(api: Any, job_id: str) -> dict[str, Any]:
    started = time.monotonic()
    while time.monotonic() - started < JOB_SECONDS_MAX:
        job: dict[str, Any] = api.get(f"jobs/{job_id}/").raise_for_status().json()
        if job["state"] in sample.ENDED:
            if job["state"] != "finished" or job["progress"]["failed"]:
                raise SystemExit(f"The job ended otherwise: {json.dumps(job)}")
            return job
        time.sleep(0.5)
    raise SystemExit(f"The job did not end in {JOB_SECONDS_MAX} s.")


def _read(
    database: Any, job_id: str, plans: list[timed_nodes.Plan], died: dict[int, float]
) -> dict[str, list[float]]:
    with database.cursor() as cursor:
        cursor.execute(_CHUNKS, [job_id])
        latencies = [decided - assigned for assigned, decided in cursor.fetchall()]
        resend = []
        for place, at in died.items():
            cursor.execute(_RESENT, {"job": job_id, "node": plans[place].id, "died": at})
            held = cursor.fetchall()
            if not held or any(again is None for _, again in held):
                raise SystemExit(f"{plans[place].id} held {held} when it died.")
            resend += [again - at for _, again in held]
    return {"latencies": latencies, "resend": resend}


def _plan(place: int, prepared: dict[str, Any], key: Ed25519PrivateKey) -> timed_nodes.Plan:
    return timed_nodes.Plan(
        **prepared["fleet"][place],
        key=base64.b64encode(key.private_bytes_raw()).decode(),
        platform_key=prepared["platform_key"],
        picture_seconds=PICTURE_SECONDS * (SLOWNESS if place == SLOW else 1),
        width=light_fleet.SIDE,
        height=light_fleet.SIDE,
    )


def _report(rounds: list[Round]) -> None:
    resend = [each for one in rounds for each in one.resend]
    ratios = [one.p99_over_p50 for one in rounds]
    over = [one.makespan / one.ideal for one in rounds]
    platform.result(
        "tail",
        figures={
            "resend_s": round(max(resend), 1),
            "p99_over_p50": round(statistics.median(ratios), 2),
            "makespan_over_ideal": round(statistics.median(over), 2),
            "replicas_per_chunk": round(statistics.median(one.replicas for one in rounds), 3),
        },
        noise={
            "resend_s": measures.spread(resend, digits=1),
            "p99_over_p50": measures.spread(ratios),
            "makespan_over_ideal": measures.spread(over),
        },
    )


if __name__ == "__main__":
    main()
