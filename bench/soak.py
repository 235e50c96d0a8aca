"""Does a node grow? Hours of a node's life pressed into minutes, on a real broker.

Two nodes of two owners idle first (`bin/bench idle` says more on that), then work without a
pause: job after job of one-picture chunks, paused and resumed from the page in between. What
could leak does so by chunk, and a chunk of a large job takes up to ten seconds: `chunk_hours`
is how long a slot would have been busy with as many. Memory of the node and its rooms, open
files and threads are sampled after each job; the second quarter of the samples is compared
with the last. The first quarter is warming up.

    bin/bench soak [--seconds 600]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from bench import platform
from bench.processes import Sample, look
from portal.demo import sample, stack
from tasks import chunking
from workers import memory

NODES = 2
IDLE_SECONDS = 30
PHOTOS = 6
SECONDS_DEFAULT = 600
#: Last quarter against the second: noise of what happens to be open in between.
GROWTH_MAX = 1.05

_PREPARE = f"""
from dataclasses import asdict
from datetime import UTC, datetime
from portal.demo import cast
from tasks import nodes
now = datetime.now(UTC)
logins = cast.prepare(nodes={NODES}, now=now)
names = ["operator", *(f"operator-{{n}}" for n in range(2, {NODES} + 1))]
tokens = [nodes.issue_token(owner_id=logins[name].user_id, now=now).token for name in names]
keys = {{name: login.api_key for name, login in logins.items()}}
print(json.dumps({{"keys": keys, "tokens": tokens}}))
"""


def idle(pid: int, seconds: float) -> dict[str, float]:
    """Measure a node that has nothing to do."""
    before = look(pid)
    time.sleep(seconds)
    after = look(pid)
    return {
        "idle_rss_mib": round(after.rss_mib, 1),
        "idle_cpu_percent": round(100 * (after.cpu_seconds - before.cpu_seconds) / seconds, 2),
    }


def growth(samples: list[Sample]) -> dict[str, float]:
    """Compare the second quarter with the last."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    figures: dict[str, float] = {}
    for name in ("rss_mib", "pss_mib", "files", "threads"):
        figures[f"{name}_early"], figures[f"{name}_late"] = (
            round(statistics.median(getattr(each, name) for each in part), 1)
            for part in (early, late)
        )
    return figures


def work(
    running: stack.Stack, keys: dict[str, str], pid: int, seconds: float
) -> tuple[int, list[Sample]]:
    """Keep the nodes busy; return how many pictures were computed, and the samples."""
    samples: list[Sample] = []
    photos = sorted((stack.BASE_DIR / "portal" / "photos").glob("*.png"))[:PHOTOS]
    pictures, ends = 0, time.monotonic() + seconds
    with (
        sample.session(url=running.url, api_key=keys["client"]) as client,
        sample.session(url=running.url, api_key=keys["operator"]) as operator,
    ):
        dataset = sample.upload(client, name="soak", photos=photos)
        (node,) = operator.get("nodes/").json()["results"]
        while time.monotonic() < ends:
            # The tier for which two new owners who agree are enough.
            job = sample.submit(client, dataset=dataset, target_error="1e-2")
            sample.finish(client, job_id=job["id"])
            pictures += len(photos)
            for verb in ("pause", "resume"):
                operator.post(f"nodes/{node['id']}/{verb}/").raise_for_status()
            samples.append(look(pid))
    return pictures, samples


def main() -> int:
    """Run it; exit 1 when the node grew or was not idle while idle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS_DEFAULT)
    options = parser.parse_args()
    with platform.running() as running:
        prepared = platform.python(running, _PREPARE)
        for number, token in enumerate(prepared["tokens"], start=1):
            _enroll(running, number, token)
            running.start_node(number)
        pid = running.processes["node-1"].popen.pid
        time.sleep(15)  # models fetched, opened and measured
        platform.say(f"with an open session: {look(pid).rss_mib:.0f} MiB; waiting till it closes")
        time.sleep(memory.KEEP_SECONDS)
        platform.say("idling")
        figures = idle(pid, IDLE_SECONDS)
        platform.say(f"idle: {figures}; working for {options.seconds:.0f} s")
        pictures, samples = work(running, prepared["keys"], pid, options.seconds)
        figures |= growth(samples)
    # Every picture is a chunk of its own and is computed by both nodes.
    chunk_hours = pictures * chunking.CHUNK_MS_MAX / 1000 / 3600
    figures |= {
        "pictures": pictures,
        "jobs": len(samples),
        "chunk_hours": round(chunk_hours, 1),
    }
    platform.result("soak", figures=figures, noise={"seconds": options.seconds})
    is_steady = (
        figures["pss_mib_late"] <= figures["pss_mib_early"] * GROWTH_MAX
        and figures["files_late"] <= figures["files_early"] + 1
        and figures["threads_late"] <= figures["threads_early"] + 1
    )
    return 0 if is_steady else 1


def _enroll(running: stack.Stack, number: int, token: str) -> None:
    home = running.node_home(number)
    home.mkdir(parents=True, mode=0o700)
    (home / "limits.toml").write_text("battery = true\n")
    argv = stack.node_argv(home, "enroll", "--portal", running.url, "--token", token)
    subprocess.run(argv, check=True, stdout=sys.stderr, cwd=stack.BASE_DIR)


if __name__ == "__main__":
    sys.exit(main())
