"""`manage.py demo`: the whole of Nodefolk on this machine, with the pilot's job.

The settings are read from the environment before a command sees its options, so the first
run works out the environment and starts itself again inside it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from payments import invariants as money_invariants
from payments import money
from payments import queries as payments_queries
from portal.demo import cast, sample, stack
from tasks import broker
from tasks import invariants as work_invariants
from tasks.models import Node, Replica
from workers import control
from workers.config import Home
from workers.protocol.allowance import Allowance

PREPARED = "NODEFOLK_DEMO_PREPARED"
NODES_MAX = 64
#: Nodes without a record that the standard tier asks for.
FRESH_NODES_MIN = 3
PHOTOS = stack.BASE_DIR / "portal" / "photos"
#: Fetching the model and opening a session, for all nodes on two cores, seconds.
NODES_SECONDS_MAX = 120.0


class Stopped(Exception):
    """Someone pressed Ctrl-C or sent SIGTERM."""


class Command(BaseCommand):
    """Portal, workers and nodes on this machine; runs the sample job; stays up."""

    help = "Start portal, workers and nodes, run the sample job, stay up with ready logins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="end after the report")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--data", type=Path, default=stack.BASE_DIR / "var" / "demo")
        parser.add_argument("--nodes", type=int, default=7)
        parser.add_argument(
            "--services", action="store_true", help="private PostgreSQL and RabbitMQ"
        )

    def handle(self, **options: Any) -> None:
        data_dir: Path = options["data"].resolve()
        if os.environ.get(PREPARED) != str(data_dir):
            _restart_inside(data_dir, options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        running = stack.Stack(data_dir=data_dir, environment=os.environ, port=options["port"])
        try:
            report = self._run(running, nodes=options["nodes"])
            if not options["once"]:
                self._stay(running)
        except Stopped:
            self._say("stopping")
            return
        except stack.NotReady as exc:
            raise CommandError(f"{exc} The logs are in {data_dir / 'logs'}.") from exc
        finally:
            # A second Ctrl-C must not cut the stopping short.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            running.stop_all()
            if options["services"]:
                _services("stop", data_dir)
        if not report["ok"]:
            sys.exit(1)

    def _run(self, running: stack.Stack, *, nodes: int) -> dict[str, Any]:
        started = time.monotonic()
        self._say("preparing database, broker and model")
        call_command("migrate", verbosity=0)
        broker.declare_topology()
        call_command("install_models", stdout=self.stderr)
        logins = cast.prepare(nodes=nodes, now=datetime.now(UTC))
        self._say("starting portal and workers")
        running.start_platform()
        self._say(f"starting {nodes} nodes")
        _enroll_missing(running, logins, nodes=nodes)
        for number in range(1, nodes + 1):
            running.start_node(number)
        stack.wait_until(
            lambda: _ready_nodes() >= nodes, seconds=NODES_SECONDS_MAX, what="the nodes"
        )
        self._say(f"up after {time.monotonic() - started:.1f} s; running the sample job")
        report = _sample_report(running, logins["client"], nodes=nodes)
        _write_json(running, logins)
        self._print_report(running, logins, report)
        return report

    def _print_report(
        self, running: stack.Stack, logins: dict[str, cast.Login], report: dict[str, Any]
    ) -> None:
        found = ", ".join(f"{count} {label}" for label, count in report["detections"].items())
        lines = [
            f"{report['acks']} of {report['nodes']} nodes acknowledged, "
            f"slowest {report['slowest_ack_ms']} ms",
            f"first checked result after {report['first_result_ms']} ms, "
            f"all {report['images']} after {report['all_results_ms']} ms",
            f"found: {found}",
            f"rewards: {report['rewards']} {money.ASSET}; "
            f"ledger {'balanced' if report['ledger_balanced'] else 'NOT BALANCED'}",
            f"portal: {running.url}",
        ]
        lines += [
            f"  {role:<10} {logins[role].email:<32} {logins[role].password}" for role in cast.ROLES
        ]
        for line in lines:
            self._say(line)
        self.stdout.write(json.dumps(report))
        self.stdout.flush()

    def _stay(self, running: stack.Stack) -> None:
        self._say("running; Ctrl-C stops everything")
        while True:
            for name in running.restart_dead(now_seconds=time.monotonic()):
                self._say(f"{name} died, starting it again; see {running.log_of(name)}")
            time.sleep(0.5)

    def _say(self, line: str) -> None:
        self.stderr.write(f"demo: {line}")
        self.stderr.flush()


def _stop(*_: object) -> None:
    raise Stopped


def _restart_inside(data_dir: Path, options: dict[str, Any]) -> None:
    """Check the options, work out the environment, and run this command again in it."""
    if not 2 <= options["nodes"] <= NODES_MAX:
        raise CommandError(f"--nodes is 2 to {NODES_MAX}: a check takes two owners.")
    if not stack.is_free(options["port"]):
        raise CommandError(f"Port {options['port']} is in use; choose another with --port.")
    data_dir.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        PREPARED: str(data_dir),
        "NODEFOLK_DATA": str(data_dir),
        "NODEFOLK_PUBLIC_URL": f"http://127.0.0.1:{options['port']}",
        "NODEFOLK_DEBUG": "true",
        "PYTHONUNBUFFERED": "1",
    }
    for name in stack.SERVER_VARIABLES:
        environment.pop(name, None)
    if options["services"]:
        _services("start", data_dir)
        environment |= stack.server_variables(data_dir / "services")
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def _services(action: str, data_dir: Path) -> None:
    """Start or stop the private servers."""
    program, folder = str(stack.BASE_DIR / "bin" / "services"), str(data_dir / "services")
    done = subprocess.run(  # noqa: S603
        [program, action, folder], check=False, stdout=sys.stderr.fileno()
    )
    if done.returncode != 0:
        raise CommandError(f"bin/services {action} failed ({done.returncode}).")


def _enroll_missing(running: stack.Stack, logins: dict[str, cast.Login], *, nodes: int) -> None:
    """Enrol the nodes that have no identity yet, each by its own owner, side by side."""
    enrolling = []
    for number in range(1, nodes + 1):
        home = running.node_home(number)
        if _is_enrolled(home):
            continue
        # Without a limit: on a laptop's battery the demo's nodes would rest.
        control.write_limits(Home(home), Allowance())
        login = logins["operator" if number == 1 else f"operator-{number}"]
        with sample.session(url=running.url, api_key=login.api_key) as api:
            token = api.post("nodes/enrollments/").raise_for_status().json()["token"]
        arguments = ("enroll", "--portal", running.url, "--token", token)
        argv = stack.node_argv(home, *arguments, "--name", f"node {number}")
        enrolling.append(running.start(f"enroll-{number}", argv))
    for process in enrolling:
        if process.popen.wait(timeout=60) != 0:
            raise stack.NotReady(f"A node could not enrol: {process.log_path.read_text()}")
        del running.processes[process.name]


def _is_enrolled(home: Path) -> bool:
    """Say whether the node's home belongs to a node this database knows."""
    config = home / "config.json"
    if not config.exists():
        return False
    node_id = json.loads(config.read_text(encoding="utf-8"))["node_id"]
    return Node.objects.filter(pk=node_id).exists()


def _ready_nodes() -> int:
    """Count the nodes that are up with a model at hand."""
    ready = Node.objects.filter(state=Node.State.ACTIVE, reason="", last_seen_at__isnull=False)
    return sum(bool(node.cached_models) for node in ready)


def _sample_report(running: stack.Stack, client: cast.Login, *, nodes: int) -> dict[str, Any]:
    """Run the job and measure it; every figure comes from rows and answers."""
    with sample.session(url=running.url, api_key=client.api_key) as api:
        dataset = sample.upload(api, name="Pilot photographs", photos=sorted(PHOTOS.glob("*.png")))
        job = sample.submit(api, dataset=dataset, target_error=_tier(nodes))
        outcome = sample.finish(api, job_id=job["id"], nodes=nodes)
    timing, acks = outcome.job["timing"], outcome.job["acks"]
    paid = payments_queries.rewards(
        [str(pk) for pk in Replica.objects.filter(job=job["id"]).values_list("pk", flat=True)]
    )
    progress = outcome.job["progress"]
    images = progress["items"]
    is_balanced = all(check.ok for check in money_invariants.audit(now=datetime.now(UTC)))
    report = {
        "nodes": nodes,
        "acks": acks["count"],
        "slowest_ack_ms": acks["slowest_ms"],
        "first_result_ms": timing["first_result_ms"],
        "all_results_ms": _milliseconds(timing["submitted_at"], timing["finished_at"]),
        "images": images,
        "detections": dict(outcome.detections),
        "rewards": money.format_amount(sum(reward.reward_minor for reward in paid.values())),
        "ledger_balanced": is_balanced,
    }
    held = (
        report["acks"] == nodes
        and progress["provisional"] + progress["final"] == images == len(outcome.lines)
        and all(outcome.detections[label] for label in sample.EXPECTED_LABELS)
        and is_balanced
        and all(finding.holds for finding in work_invariants.audit(now=datetime.now(UTC)))
    )
    return {"ok": held, **report}


def _tier(nodes: int) -> str:
    """Return a target error that so many fresh nodes, each of another owner, can keep."""
    return sample.TARGET_ERROR if nodes >= FRESH_NODES_MIN else "1e-2"


def _milliseconds(start: str, end: str) -> int:
    elapsed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(elapsed.total_seconds() * 1000)


def _write_json(running: stack.Stack, logins: dict[str, cast.Login]) -> None:
    """Write DIR/demo.json, for people and programs that want to look around."""
    document = {
        "url": running.url,
        "users": {
            role: {
                "email": logins[role].email,
                "password": logins[role].password,
                "api_key": logins[role].api_key,
            }
            for role in cast.ROLES
        },
        "broker": {
            "url": settings.BROKER_URL,
            **(
                {"management": settings.BROKER_MANAGEMENT_URL}
                if settings.BROKER_MANAGEMENT_URL
                else {}
            ),
        },
        "database": os.environ.get(
            "DATABASE_URL", f"sqlite:///{running.data_dir}/nodefolk.sqlite3"
        ),
    }
    path = running.data_dir / "demo.json"
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(document, indent=2), encoding="utf-8")
    draft.replace(path)
