"""Real nodes for a bench: each of another owner, enrolled and run as an operator would."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from bench import platform
from portal.demo import stack

#: Until a node has fetched and opened the models and measured its speed, seconds.
READY_SECONDS = 120

_PREPARE = """
from datetime import UTC, datetime
from portal.demo import cast
from tasks import nodes
now = datetime.now(UTC)
logins = cast.prepare(nodes={count}, now=now)
names = ["operator", *(f"operator-{{n}}" for n in range(2, {count} + 1))]
tokens = [nodes.issue_token(owner_id=logins[name].user_id, now=now).token for name in names]
print(json.dumps({{"client": logins["client"].api_key, "tokens": tokens}}))
"""

#: A node that has worked for long: one answer of it is believed.
_TRUST = """
from tasks.models import CatalogModel, Credibility, Node
Credibility.objects.bulk_create(
    [Credibility(node=node, model=model, checks_tenths=20_000, state="trusted")
     for node in Node.objects.all() for model in CatalogModel.objects.all()],
    ignore_conflicts=True)
print("{}")
"""

_READY = """
from tasks.models import Node
print(json.dumps(Node.objects.filter(reason="", profile__images_per_second__gt=0).count()))
"""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The client's key, and the names of the nodes' processes."""

    api_key: str
    names: list[str]


def start(running: stack.Stack, *, count: int, priority: str = "normal") -> Crew:
    """Enrol and start `count` nodes; return when all say that they are ready.

    `priority` is that of their rooms; normal by default: what they are compared with does
    not step back for others, either.
    """
    prepared: dict[str, Any] = platform.python(running, _PREPARE.format(count=count))
    names = []
    for number, token in enumerate(prepared["tokens"], start=1):
        _enroll(running, number, token)
        argv = stack.node_argv(running.node_home(number), "run", "--priority", priority)
        names.append(running.start(f"node-{number}", argv).name)
    platform.python(running, _TRUST)
    stack.wait_until(
        lambda: platform.python(running, _READY) == count,
        seconds=READY_SECONDS,
        what=f"{count} nodes to be ready",
    )
    return Crew(api_key=prepared["client"], names=names)


def keep(running: stack.Stack, crew: Crew, *, count: int) -> Crew:
    """Stop all nodes but the first `count`; return those."""
    for name in crew.names[count:]:
        running.stop(name)
    return Crew(api_key=crew.api_key, names=crew.names[:count])


def pids(running: stack.Stack, crew: Crew) -> list[int]:
    """Return the nodes' processes; their rooms are their children."""
    return [running.processes[name].popen.pid for name in crew.names]


def _enroll(running: stack.Stack, number: int, token: str) -> None:
    home = running.node_home(number)
    home.mkdir(parents=True, mode=0o700)
    (home / "limits.toml").write_text("battery = true\n")
    argv = stack.node_argv(home, "enroll", "--portal", running.url, "--token", token)
    subprocess.run(argv, check=True, stdout=sys.stderr, cwd=stack.BASE_DIR)
