"""What an attacker finds: a platform at work, a victim's node, its own node's credentials.

`Scene.snapshot` is everything that a refused attack may not change. `Scene.settle` waits
until the platform has read all that was sent, so that "nothing changed" means something.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg2
from amqp.exceptions import AMQPError
from kombu import Connection

from tests.flows.platform import Platform
from tests.flows.puppet import Puppet
from workers.protocol import messages

#: Tables whose rows say nothing of work or money: sessions, throttles, the last use of a key.
LEFT_OUT = {"django_session", "django_migrations", "django_admin_log", "portal_apikey"}
#: Columns that come and go by themselves. Whatever a node signed is a sign of life, and says
#: no more than that; sweeps write down when they ended.
PASSING = {"tasks_node": ["last_seen_at"], "tasks_platform": ["swept_at", "swept"]}
QUEUES = ("platform.reports", "platform.acks", "platform.heartbeats")
SETTLE_SECONDS_MAX = 20


@dataclass
class Scene:
    """The platform, its victim, and the attacker's credentials."""

    platform: Platform
    attacker: Puppet
    victim: Puppet
    witness: Puppet
    #: A finished job's assignments and reports: what attacker and victim were paid for.
    mine: messages.Assignment
    my_report: bytes
    theirs: messages.Assignment
    #: Links to blobs and a user without an identity check, made by the platform itself.
    extras: Mapping[str, Any]
    _database: Any = field(default=None, repr=False)

    # --- looking ------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the platform's database."""
        if self._database is None:
            url = self.platform.stack.environment["DATABASE_URL"]
            self._database = psycopg2.connect(url)
            self._database.autocommit = True
        with self._database.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def snapshot(self) -> dict[str, Any]:
        """Return a digest of each table, the depths of queues, and which processes live."""
        self._wait_for_sweep()
        found: dict[str, Any] = {}
        for (table,) in self.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        ):
            if table in LEFT_OUT:
                continue
            where = f"WHERE id <> '{self.witness.node_id}'" if table == "tasks_node" else ""
            row = f"(to_jsonb(t) - '{{{','.join(PASSING.get(table, ()))}}}'::text[])::text"
            digest = f"md5(coalesce(string_agg({row}, '|' ORDER BY {row}), '')) FROM {table} t"
            found[table] = self.rows(f"SELECT count(*), {digest} {where}")[0]
        found["queues"] = {
            name: self.depth(name)
            for name in (
                *QUEUES,
                "platform.work",
                "platform.referee",
                "platform.dead",
                self.victim.login["queue"],
            )
        }
        found["processes"] = {
            name: (process.popen.pid, process.popen.poll())
            for name, process in self.platform.stack.processes.items()
        }
        return found

    def depth(self, queue: str) -> int:
        """Count the messages that wait in a queue."""
        with Connection(self.platform.stack.environment["BROKER_URL"]) as connection:
            channel: Any = connection.channel()
            return int(channel.queue_declare(queue, passive=True).message_count)

    def settle(self) -> None:
        """Wait until ingest has handled all that was sent before.

        When no message waits, all were delivered; a heartbeat sent then comes after them,
        and a second one in a later batch than they.
        """
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while any(self.depth(name) for name in QUEUES) and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(2):
            before = self._heard_at()
            self.witness.beat()
            while self._heard_at() == before:
                assert time.monotonic() < deadline, "ingest hears nobody"
                time.sleep(0.01)
        self._wait_for_sweep()

    def _wait_for_sweep(self) -> None:
        """Wait until no background work waits: `sweep` comes every two seconds and goes at once."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while self.depth("platform.work") and time.monotonic() < deadline:
            time.sleep(0.02)

    def _heard_at(self) -> Any:
        return self.rows(
            "SELECT heartbeat_sent_at FROM tasks_node WHERE id = %s", self.witness.node_id
        )

    # --- attacking ----------------------------------------------------------------------

    @contextmanager
    def channel(self, puppet: Puppet | None = None, **changes: Any):
        """Open a channel as the attacker, some of the login changed."""
        with self.connection(puppet or self.attacker, **changes) as connection:
            yield connection.channel()

    def connection(self, puppet: Puppet, **changes: Any) -> Connection:
        """Return an unopened connection with the puppet's login, some of it changed."""
        login = puppet.login
        parts = {
            "userid": login["username"],
            "password": login["password"],
            "virtual_host": login["vhost"],
        }
        confirming = {"transport_options": {"confirm_publish": True}}
        return Connection(login["url"], **{**parts, **confirming, **changes}, connect_timeout=5)

    def wait_alone(self, puppet: Puppet) -> None:
        """Wait until the broker has forgotten the puppet's closed connections."""
        url = httpx.URL(self.platform.stack.environment["BROKER_MANAGEMENT_URL"])
        path = f"/api/connections/username/{puppet.login['username']}"
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        with httpx.Client(
            base_url=url.copy_with(username=None, password=None),
            auth=(url.username, url.password),
        ) as client:
            while client.get(path).json():
                assert time.monotonic() < deadline, "connections stay open"
                time.sleep(0.05)

    def broker_says(self, act: Callable[[Any], object], **changes: Any) -> str:
        """Do something on a channel of the attacker; return how the broker refused it."""
        try:
            with self.channel(**changes) as channel:
                act(channel)
        except AMQPError as refused:
            return f"broker {refused.code}"
        except OSError as closed:
            return f"broker closed ({type(closed).__name__})"
        return "allowed"

    def ingest_says(self, send: Callable[[], object]) -> str:
        """Send something and return why ingest dropped it; `no effect` when it took it."""
        log = self.platform.stack.log_of("ingest")
        start = log.stat().st_size
        send()
        self.settle()
        with log.open("rb") as file:
            file.seek(start)
            said = file.read().decode(errors="replace")
        codes = sorted(set(re.findall(r"dropped \d+ messages: (\w+)", said)))
        assert "Traceback" not in said
        return f"ingest {','.join(codes)}" if codes else "no effect"

    def portal_says(self, method: str, path: str, *, key: str = "", **options: Any) -> str:
        """Make a request and return status and code of the answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = path if path.startswith("http") else f"{self.platform.stack.url}{path}"
        answer = httpx.request(method, url, headers=headers, timeout=20, **options)
        try:
            code = answer.json().get("code", "")
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
            code = ""
        return f"portal {answer.status_code} {code}".strip()

    def management_says(self, path: str) -> str:
        """Ask the broker's management API as the attacker."""
        url = httpx.URL(self.platform.stack.environment["BROKER_MANAGEMENT_URL"])
        login = self.attacker.login
        answer = httpx.get(
            url.copy_with(username=None, password=None, path=path),
            auth=(login["username"], login["password"]),
            timeout=10,
        )
        return f"management {answer.status_code}"

    def authority_says(self, question: str, **fields: str) -> str:
        """Ask the authority as a program on the broker's own machine could."""
        address = self.platform.stack.environment["BROKER_AUTHORITY"]
        answer = httpx.post(f"http://{address}/{question}", data=fields, timeout=10)
        return f"authority {answer.text or answer.status_code}"


@dataclass(frozen=True)
class Case:
    """One forbidden thing: the rule it breaks, how it is tried, and what stops it."""

    attempt: str
    rule: str
    act: Callable[[Scene], str]
    stopped_by: str


def prepare(platform: Platform) -> Scene:
    """Let attacker and victim do one job honestly, and wait until all of it is settled."""
    attacker, victim, witness = (platform.puppet(number) for number in (1, 2, 3))
    for puppet in (attacker, victim):
        puppet.beat()
    job_id = platform.submit(images=1)
    attacker.ack(job_id)
    victim.ack(job_id)
    mine, theirs = attacker.next(messages.Assignment), victim.next(messages.Assignment)
    my_report = attacker.send("report", attacker.report(mine))
    victim.send("report", victim.report(theirs))
    platform.finish(job_id)
    extras = platform.python(_EXTRAS.format(digest=theirs.inputs[0].digest, job=job_id))
    with platform.api("operator") as api:
        extras["fresh_token"], extras["used_token"] = (
            api.post("nodes/enrollments/").raise_for_status().json()["token"] for _ in range(2)
        )
    Puppet.enroll(url=platform.stack.url, token=extras["used_token"])
    scene = Scene(platform, attacker, victim, witness, mine, my_report, theirs, extras)
    wait_still(scene)
    return scene


def wait_still(scene: Scene) -> None:
    """Wait until the rewards are posted and two looks, further apart than a sweep, agree."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = scene.snapshot()
        time.sleep(3)
        scene.settle()
        if scene.snapshot() == before:
            return
    raise AssertionError("the platform does not come to rest")


def nonce() -> str:
    """Return a nonce that nobody was given."""
    return secrets.token_hex(16)


_EXTRAS = """
from datetime import UTC, datetime, timedelta
from portal import keys
from portal.models import User
from tasks import blobs
from tasks.models import Job
now = datetime.now(UTC)
# Over for so long that an ack comes too late.
Job.objects.filter(pk="{job}").update(finished_at=now - timedelta(minutes=1))
user, _ = User.objects.update_or_create(
    email="nobody@nodefolk.example", defaults={{"is_operator": True}}
)
key = keys.create(
    user=user, name="x", scopes=list(keys.SCOPES), expires_at=now + timedelta(days=1), now=now
)
old = blobs.sign_url(digest="{digest}", audience="x", expires_at=now - timedelta(seconds=5))
new = blobs.sign_url(digest="{digest}", audience="x", expires_at=now + timedelta(hours=1))
print(json.dumps({{"nobody": key.secret, "expired": old, "good": new}}))
"""
