"""How soon do all nodes acknowledge a job? Real portal, broker, ingest and database.

Light nodes, each with its own connection, login and key, answer at once (`bench.crowd`). The
time of an ack is the platform's own, from the rows: from publishing the announcement to the
ack's arrival at ingest. A round's figure is the 95th percentile over its nodes, a size's is
the median over its rounds; the first rounds warm everything up and are not counted.

    bin/bench acks [--sizes 7 100 1000] [--rounds 12]
"""

from __future__ import annotations

import argparse
import base64
import statistics
import time
from dataclasses import dataclass
from typing import Any

import psycopg2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import crowd, measures, platform, processors
from portal.demo import sample, stack
from workers.protocol import signatures

SIZES = (7, 100, 1000)
ROUNDS = 12
WARM_UP_ROUNDS = 2
ROUND_SECONDS_MAX = 30
#: Between two jobs, so that one's withdrawals do not meet the other's acks, seconds.
PAUSE_SECONDS = 0.3
PHOTO = stack.BASE_DIR / "portal" / "photos" / "camera.png"

# Through the services one by one: enrolling is what an operator does.
_PREPARE = """
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from django.db import close_old_connections, connection
from portal.demo import cast
from portal.models import User
from tasks import identity, nodes
now = datetime.now(UTC)
client = cast.prepare(nodes=1, now=now)["client"]
owners = User.objects.bulk_create(
    [User(email=f"bench-{{n}}@nodefolk.example", is_operator=True) for n in range({count})])
def enroll(pair):
    owner, public = pair
    token = nodes.issue_token(owner_id=owner.pk, now=now).token
    enrolled = nodes.enroll(
        token=token, name=f"light {{owner.pk}}", public_key=public, hardware={{}}, now=now)
    return {{"id": enrolled.node.pk, "login": asdict(enrolled.broker)}}
def enroll_all(pairs):
    try:
        return [enroll(pair) for pair in pairs]
    finally:
        connection.close()
pairs = list(zip(owners, {keys}))
with ThreadPoolExecutor(4) as pool:
    fleet = [each for part in pool.map(enroll_all, [pairs[n::4] for n in range(4)]) for each in part]
publics = [public for n in range(4) for _, public in pairs[n::4]]
for each, public in zip(fleet, publics):
    each["public"] = public
print(json.dumps({{"client": client.api_key, "fleet": fleet,
    "platform_key": identity.platform_public_key()}}))
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """All nodes' acks of one job."""

    #: Milliseconds, least first.
    latencies_ms: list[int]
    #: From the submission's answer until all acks stood in the database.
    stored_ms: float
    #: Processor time of the simulated nodes, which share these cores.
    crowd_ms: float


def measure(running: stack.Stack, *, count: int, rounds: int) -> list[Round]:
    """Return the counted rounds of a fleet of `count`."""
    secrets = [Ed25519PrivateKey.generate() for _ in range(count)]
    by_public = {
        signatures.public_text(key): base64.b64encode(key.private_bytes_raw()).decode()
        for key in secrets
    }
    started = time.monotonic()
    prepared = platform.python(running, _PREPARE.format(count=count, keys=list(by_public)))
    platform.say(f"{count} nodes enrolled in {time.monotonic() - started:.1f} s")
    fleet = [{**each, "key": by_public[each["public"]]} for each in prepared["fleet"]]
    database = psycopg2.connect(running.environment["DATABASE_URL"])
    database.autocommit = True
    found = []
    with (
        crowd.listening(fleet, platform_key=prepared["platform_key"]) as pid,
        sample.session(url=running.url, api_key=prepared["client"]) as api,
    ):
        dataset = sample.upload(api, name="one", photos=[PHOTO])
        for number in range(WARM_UP_ROUNDS + rounds):
            one = _round(api, database, dataset=dataset, count=count, pid=pid)
            if number >= WARM_UP_ROUNDS:
                found.append(one)
            platform.say(
                f"{count} nodes, round {number}: p95 {p95(one)} ms, all in"
                f" {one.latencies_ms[-1]} ms, stored in {one.stored_ms:.0f} ms;"
                f" the nodes themselves took {one.crowd_ms:.0f} ms"
            )
    database.close()
    return found


def p95(one: Round) -> float:
    """Return the 95th percentile over the nodes of a round, milliseconds."""
    return measures.percentile(one.latencies_ms, share=0.95)


def _round(api: Any, database: Any, *, dataset: str, count: int, pid: int) -> Round:
    spent = sum(processors.seconds([pid]))
    job_id = sample.submit(api, dataset=dataset)["id"]
    started = time.monotonic()
    latencies: list[int] = []
    while len(latencies) < count:
        if time.monotonic() - started > ROUND_SECONDS_MAX:
            raise SystemExit(f"{len(latencies)} of {count} nodes acknowledged.")
        time.sleep(0.02)
        with database.cursor() as cursor:
            cursor.execute("SELECT latency_ms FROM tasks_ack WHERE job_id = %s", [job_id])
            latencies = sorted(latency for (latency,) in cursor.fetchall())
    stored_ms = 1000 * (time.monotonic() - started)
    api.post(f"jobs/{job_id}/cancel/").raise_for_status()
    time.sleep(PAUSE_SECONDS)
    return Round(
        latencies_ms=latencies,
        stored_ms=stored_ms,
        crowd_ms=1000 * (sum(processors.seconds([pid])) - spent),
    )


def main() -> None:
    """Measure each fleet size on a platform of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    figures, noise = {}, {}
    for count in options.sizes:
        with platform.running() as running:
            found = measure(running, count=count, rounds=options.rounds)
        figures[f"p95_ms_{count}"] = statistics.median(p95(one) for one in found)
        noise[f"p95_ms_{count}"] = measures.spread([p95(one) for one in found], digits=0)
        noise[f"stored_ms_{count}"] = measures.spread([one.stored_ms for one in found], digits=0)
        noise[f"crowd_ms_{count}"] = measures.spread([one.crowd_ms for one in found], digits=0)
    platform.result("acks", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
