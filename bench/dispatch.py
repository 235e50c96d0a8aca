"""How many chunks a second, from submitted to verified and paid?

Real portal, PostgreSQL, RabbitMQ, ingest and signed messages; the nodes are light: own
processes, connections, logins and keys, and they answer at once. Their records are long, so
that one answer is believed at the standard tier. A round buys one job of CHUNKS one-picture
chunks and ends when the job is finished and each reward is posted in the ledger. Beside it,
interleaved: plain Celery no-ops (two solo workers, no result backend), and the bare SQL of
accepting and paying, one statement a batch.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import bare_sql, light_fleet, measures, noops, platform, processors
from portal.demo import sample, stack
from workers.protocol import signatures

NODES = 8
PROCESSES = 2
SLOTS = 32
#: Ingest processes, as many as processors.
INGEST = 2
CHUNKS = 6000
ROUNDS = 3
JOB_SECONDS_MAX = 120

_PAID = """
SELECT (SELECT state FROM tasks_job WHERE id = %s),
    (SELECT count(*) FROM payments_transferintent i
     WHERE i.posted_at IS NULL AND i.due_at IS NULL)
"""


def keys(count: int) -> list[tuple[str, str]]:
    """Return so many new keys: public text, and base64 of the secret."""
    made = [Ed25519PrivateKey.generate() for _ in range(count)]
    return [
        (signatures.public_text(key), base64.b64encode(key.private_bytes_raw()).decode())
        for key in made
    ]


@contextmanager
def listening(running: stack.Stack, fleet: list[dict[str, Any]]) -> Iterator[list[int]]:
    """Run light nodes in PROCESSES processes until the end of the block; yield their pids."""
    processes = []
    for part in range(PROCESSES):
        path = running.data_dir / f"light-{part}.json"
        path.write_text(json.dumps(fleet[part::PROCESSES]))
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.light_nodes", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait(timeout=10)


def measure(api: Any, database: Any, prepared: dict[str, Any], *, chunks: int) -> float:
    """Buy one job; return chunks a second from its submission to all paid."""
    started = time.monotonic()
    job = sample.submit(
        api, dataset=prepared["dataset"], model=prepared["model"], target_error="1e-3"
    )
    while time.monotonic() - started < JOB_SECONDS_MAX:
        with database.cursor() as cursor:
            cursor.execute(_PAID, [job["id"]])
            state, unpaid = cursor.fetchone()
        if state == "finished" and unpaid == 0:
            return chunks / (time.monotonic() - started)
        time.sleep(0.02)
    raise RuntimeError(f"job {job['id']} is {state}, {unpaid} movements are not posted")


def _meter(running: stack.Stack, light: list[int]) -> processors.Meter:
    ours = {name: [process.popen.pid] for name, process in running.processes.items()}
    return processors.Meter({"light nodes": light} | ours | platform.server_pids(running))


def main() -> None:
    """Measure everything in turn; print medians of per-round ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", action="store_true", help="without the baselines")
    parser.add_argument("--profile", help="write ingest's cProfile to this file")
    options = parser.parse_args()
    variables = {
        "NODEFOLK_SMOKE_CHUNKS_MIN": "1000000",
        "NODEFOLK_CHUNK_IMAGES_MAX": "1",
        "NODEFOLK_NODE_RATE": "100000",
    }
    ingest_processes = 1 if options.profile else INGEST
    with platform.running(variables=variables, ingest_processes=ingest_processes) as running:
        pairs = keys(NODES)
        prepared = light_fleet.prepare(
            running, chunks=options.chunks, publics=[public for public, _ in pairs]
        )
        for node, (_, secret) in zip(prepared["fleet"], pairs, strict=True):
            node |= {"key": secret, "slots": SLOTS, "platform_key": prepared["platform_key"]}
        url = running.environment["DATABASE_URL"]
        database = psycopg2.connect(url)
        database.autocommit = True
        if options.profile:
            platform.profile_ingest(running, options.profile)
        rounds: list[dict[str, float]] = []
        processor_ms: dict[str, float] = {}
        with (
            listening(running, prepared["fleet"]) as light,
            noops.workers(running) as plain,
            bare_sql.tables(url) as sql,
            sample.session(url=running.url, api_key=prepared["client"]) as api,
        ):
            for number in range(options.rounds + 1):
                meter = _meter(running, light)
                figures = {"dispatch": measure(api, database, prepared, chunks=options.chunks)}
                processor_ms = meter.milliseconds(units=options.chunks)
                if not options.alone:
                    figures["celery"] = plain.measure()
                    figures["sql"] = sql.measure()
                platform.say(f"round {number}: {figures}" + (" (warm-up)" if number == 0 else ""))
                if number:
                    rounds.append(figures)
        database.close()
    figures = {"chunks_per_s": round(statistics.median([each["dispatch"] for each in rounds]), 1)}
    noise: dict[str, Any] = {"chunks_per_s": measures.spread([each["dispatch"] for each in rounds])}
    # Of the last round, for a chunk.
    noise["processor_ms"] = {name: round(spent, 2) for name, spent in processor_ms.items()}
    if not options.alone:
        for name in ("celery", "sql"):
            ratios = [each["dispatch"] / each[name] for each in rounds]
            figures[f"vs_{name}"] = round(statistics.median(ratios), 3)
            noise[f"vs_{name}"] = measures.spread(ratios)
            noise[f"{name}_per_s"] = measures.spread([each[name] for each in rounds])
    platform.result("dispatch", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
