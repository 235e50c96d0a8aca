"""What a node that has nothing to do takes of its machine: memory and processor, all processes.

One enrolled node of a running platform, on the broker made of files or (`--amqp`) on RabbitMQ:

- `open`: the built-in detector's room is open, as it is for half a minute after work;
- `idle`: after that, ONNX Runtime is loaded in a spare room, no model is open;
- `paused`: the node may not work; nothing but its own process is left.

    bin/bench idle [--amqp] [--seconds 60]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from bench import platform, processes
from portal.demo import stack
from workers import memory
from workers.config import Home

#: What issue 4 allows an idle node with ONNX Runtime loaded.
RSS_MIB_MAX = 150
CPU_PERCENT_MAX = 0.5
#: Models fetched and measured, and every figure at rest.
READY_SECONDS_MAX = 120

_PREPARE = """
from datetime import UTC, datetime
from portal.demo import cast
from tasks import nodes
now = datetime.now(UTC)
owner = cast.prepare(nodes=1, now=now)["operator"]
print(json.dumps(nodes.issue_token(owner_id=owner.user_id, now=now).token))
"""


def main() -> int:
    """Measure; exit 1 when an idle node takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--amqp", action="store_true", help="on a private RabbitMQ")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with platform.running(with_servers=options.amqp) as running:
        home = _start_node(running, token=platform.python(running, _PREPARE))
        figures = _measure(running, home, seconds=options.seconds)
    broker = "rabbitmq" if options.amqp else "files"
    platform.result("idle", figures=figures, noise={"seconds": options.seconds, "broker": broker})
    is_small = (
        figures["idle_rss_mib"] < RSS_MIB_MAX and figures["idle_cpu_percent"] < CPU_PERCENT_MAX
    )
    return 0 if is_small else 1


def _start_node(running: stack.Stack, *, token: str) -> Home:
    home = Home(running.node_home(1))
    home.root.mkdir(parents=True, mode=0o700)
    home.limits_file.write_text("battery = true\n")  # a laptop on battery would rest
    argv = stack.node_argv(home.root, "enroll", "--portal", running.url, "--token", token)
    subprocess.run(argv, check=True, stdout=sys.stderr, cwd=stack.BASE_DIR)
    running.start_node(1)
    stack.wait_until(
        home.benchmark_file.exists, seconds=READY_SECONDS_MAX, what="the first measurement"
    )
    return home


def _measure(running: stack.Stack, home: Home, *, seconds: float) -> dict[str, float]:
    pid = running.processes["node-1"].popen.pid
    time.sleep(3)  # a room trims itself a second after its last picture
    figures = _memory("open", pid)
    stack.wait_until(
        lambda: "memory given back" in home.log_file.read_text(),
        seconds=memory.KEEP_SECONDS + READY_SECONDS_MAX,
        what="the room's end",
    )
    time.sleep(3)  # the spare room is made
    before, started = processes.look(pid), time.monotonic()
    time.sleep(seconds)
    after = processes.look(pid)
    used = after.cpu_seconds - before.cpu_seconds
    figures["idle_cpu_percent"] = round(100 * used / (time.monotonic() - started), 2)
    figures |= _memory("idle", pid)
    pause = stack.node_argv(home.root, "pause")
    subprocess.run(pause, check=True, stdout=sys.stderr, cwd=stack.BASE_DIR)
    time.sleep(3)
    return figures | _memory("paused", pid)


def _memory(name: str, pid: int) -> dict[str, float]:
    found = processes.look(pid)
    platform.say(f"{name}: {found}")
    return {
        f"{name}_rss_mib": round(found.rss_mib, 1),
        f"{name}_pss_mib": round(found.pss_mib, 1),
        f"{name}_processes": found.processes,
    }


if __name__ == "__main__":
    sys.exit(main())
