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

# Rows and queues in bulk, from the services' own parts: enrolling one by one takes a sixth of
# a second each. Left out is the broker's own row of a node, which holds limits and no login.
_PREPARE = """
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import urlsplit
import amqp
from django.conf import settings
from kombu.utils.url import parse_url
from portal.demo import cast
from portal.models import User
from tasks import broker, identity, passwords, queues
from tasks.models import Node
now = datetime.now(UTC)
client = cast.prepare(nodes=1, now=now)["client"]
publics = {keys}
owners = User.objects.bulk_create(
    [User(email=f"bench-{{n}}@nodefolk.example", is_operator=True) for n in range(len(publics))])
secrets = [passwords.make() for _ in publics]
nodes = Node.objects.bulk_create(
    [Node(owner=owner, name=f"light {{owner.pk}}", public_key=public, last_seen_at=now,
          broker_password_hash=passwords.hashed(secret))
     for owner, public, secret in zip(owners, publics, secrets)])
admin = urlsplit(settings.BROKER_MANAGEMENT_URL)
address = parse_url(settings.BROKER_URL)
with amqp.Connection(f"{{address['hostname']}}:{{address['port']}}", userid=admin.username,
                     password=admin.password, virtual_host=broker.vhost()) as connection:
    channel = connection.channel()
    for node in nodes:
        keys = [key for kind in queues.NODE_KINDS
                for key in queues.announcement_patterns(kind, node_id=node.pk)]
        broker._declare_by_channel(channel, queues.node_queue(node.pk), keys=keys)
fleet = [{{"id": node.pk, "login": asdict(broker.node_login(node_id=node.pk, password=secret))}}
         for node, secret in zip(nodes, secrets)]
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
    #: Processor time of the simulated nodes, which share these cores, and of ingest.
    crowd_ms: float
    ingest_ms: float


def measure(running: stack.Stack, *, count: int, rounds: int) -> list[Round]:
    """Return the counted rounds of a fleet of `count`."""
    keys = [Ed25519PrivateKey.generate() for _ in range(count)]
    started = time.monotonic()
    publics = [signatures.public_text(key) for key in keys]
    prepared = platform.python(running, _PREPARE.format(keys=publics))
    platform.say(f"{count} nodes enrolled in {time.monotonic() - started:.1f} s")
    fleet = [
        {**each, "key": base64.b64encode(key.private_bytes_raw()).decode()}
        for each, key in zip(prepared["fleet"], keys, strict=True)
    ]
    database = psycopg2.connect(running.environment["DATABASE_URL"])
    database.autocommit = True
    found = []
    with (
        crowd.listening(fleet, platform_key=prepared["platform_key"]) as pid,
        sample.session(url=running.url, api_key=prepared["client"]) as api,
    ):
        dataset = sample.upload(api, name="one", photos=[PHOTO])
        for number in range(WARM_UP_ROUNDS + rounds):
            pids = (pid, running.processes["ingest"].popen.pid)
            one = _round(api, database, dataset=dataset, count=count, pids=pids)
            if number >= WARM_UP_ROUNDS:
                found.append(one)
            platform.say(
                f"{count} nodes, round {number}: p95 {p95(one)} ms, all in"
                f" {one.latencies_ms[-1]} ms, stored in {one.stored_ms:.0f} ms;"
                f" processor time of the nodes {one.crowd_ms:.0f} ms, ingest {one.ingest_ms:.0f} ms"
            )
    database.close()
    return found


def p95(one: Round) -> float:
    """Return the 95th percentile over the nodes of a round, milliseconds."""
    return measures.percentile(one.latencies_ms, share=0.95)


def _round(api: Any, database: Any, *, dataset: str, count: int, pids: tuple[int, int]) -> Round:
    """Submit a job, wait for every ack, cancel it; `pids`: the nodes' process and ingest's."""
    before = [sum(processors.seconds([pid])) for pid in pids]
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
    spent = [sum(processors.seconds([pid])) for pid in pids]
    api.post(f"jobs/{job_id}/cancel/").raise_for_status()
    time.sleep(PAUSE_SECONDS)
    return Round(
        latencies_ms=latencies,
        stored_ms=stored_ms,
        crowd_ms=1000 * (spent[0] - before[0]),
        ingest_ms=1000 * (spent[1] - before[1]),
    )


def main() -> None:
    """Measure each fleet size on a platform of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", help="write ingest's cProfile to this file")
    options = parser.parse_args()
    figures, noise = {}, {}
    for count in options.sizes:
        with platform.running() as running:
            if options.profile:
                platform.profile_ingest(running, options.profile)
            found = measure(running, count=count, rounds=options.rounds)
        figures[f"p95_ms_{count}"] = statistics.median(p95(one) for one in found)
        noise[f"p95_ms_{count}"] = measures.spread([p95(one) for one in found], digits=0)
        for name in ("stored_ms", "crowd_ms", "ingest_ms"):
            values = [getattr(one, name) for one in found]
            noise[f"{name}_{count}"] = measures.spread(values, digits=0)
    platform.result("acks", figures=figures, noise=noise)


if __name__ == "__main__":
    main()
