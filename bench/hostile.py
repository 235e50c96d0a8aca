"""Nine real nodes, five of them cheats, against the real platform: what does a client get?

Three collude (the same lie for the same picture), one lies rarely, one says "nothing" to
everything; four are honest. Real portal, PostgreSQL, RabbitMQ, node processes, model and
pictures; the cheats are the node's own program with altered answers (`bench.cheat`). The
truth is what the referee's code says of each picture, computed here, apart from the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench import platform
from portal.demo import sample, stack

#: What each of the nine nodes is; operator-1 is the demo's operator.
NODES = ("honest", "honest", "honest", "honest", "collude", "collude", "collude", "rarely",
         "nothing")  # fmt: skip
JOBS = 4
PICTURES = 40
SIDE = 480
JOB_SECONDS_MAX = 900
#: Checks go on after a job's end: audits, referee, rechecks.
CALM_SECONDS = 20
PHOTOS = stack.BASE_DIR / "portal" / "photos"

_CAST = """
from dataclasses import asdict
from datetime import UTC, datetime
from portal.demo import cast
print(json.dumps({{name: asdict(login) for name, login in
    cast.prepare(nodes={count}, now=datetime.now(UTC)).items()}}))
"""
_TRUTH = """
from tasks import referee
from tasks.models import CatalogModel, Image
model = CatalogModel.objects.get(slug="ssd-mobilenet-v2")
images = list(Image.objects.filter(dataset_id={dataset!r}).select_related("blob").order_by("pk"))
answers = []
for start in range(0, len(images), 15):
    part = images[start : start + 15]
    answers += referee.answer(
        model=model,
        pictures=[each.blob for each in part],
        sizes=[(each.width, each.height) for each in part],
        floor=0.35,
    ).found
print(json.dumps({{image.pk: answer for image, answer in zip(images, answers, strict=True)}}))
"""
_WRONG = """
from tasks.models import Item, Job
from tasks.verification import agreement
truth = json.loads({truth!r})
job = Job.objects.select_related("model").get(pk={job!r})
numbers = {{label: int(number) for number, label in job.model.labels.items()}}
wrong = 0
for item in Item.objects.filter(job=job).exclude(state="failed"):
    given = [[(numbers[f["label"]], f["score"], *f["box"]) for f in item.detections]]
    expected = [[tuple(f) for f in truth[item.image_id] if f[1] >= job.score_threshold]]
    wrong += not agreement.agree(given, expected, score_threshold=job.score_threshold)
print(json.dumps({{"wrong": wrong, "failed": job.items_failed, "items": job.items_total}}))
"""
_STORY = """
from django.db.models import Count, Q, Sum
from payments import queries
from tasks.models import Credibility, Job, Node, Replica, Strike
rows = []
for node in Node.objects.order_by("name"):
    work = Replica.objects.filter(node=node)
    earned = queries.earnings([node.pk]).get(node.pk)
    believed = Credibility.objects.filter(node=node).first()
    rows.append({
        "name": node.name,
        "answers": work.exclude(reported_at=None).count(),
        "accepted": work.filter(state="accepted").count(),
        "rejected": work.filter(state="rejected").count(),
        "gold_failed": work.filter(gold_outcome="failed").count(),
        "strikes": Strike.objects.filter(node=node).count(),
        "state": believed.state if believed else "-",
        "pending": (earned.pending_minor if earned else 0) / 1e7,
    })
jobs = list(Job.objects.order_by("submitted_at").values(
    "pk", "state", "gold_checks", "audits", "audits_failed", "referee_runs", "disagreements",
    "corrections", "items_total"))
computed = Replica.objects.exclude(reported_at=None).aggregate(n=Sum("chunk__items_count"))["n"]
print(json.dumps({"nodes": rows, "jobs": jobs, "computed": computed}))
"""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What the client received of one job."""

    items: int
    wrong: int
    failed: int
    seconds: float


def pictures(folder: Path, *, seed: int) -> list[Path]:
    """Write PICTURES different cut-outs of the photographs; return their paths."""
    sources = sorted(PHOTOS.glob("*.png"))
    made = []
    for number in range(PICTURES):
        image = Image.open(sources[number % len(sources)]).convert("RGB")
        step = number // len(sources) + seed * PICTURES // len(sources)
        inset = (step * 7) % 60
        box = (inset, (step * 5) % 40, image.width - (step * 3) % 50, image.height - inset // 2)
        path = folder / f"{seed}-{number}.jpg"
        image.crop(box).save(path, quality=90)
        made.append(path)
    return made


def start_nodes(running: stack.Stack, logins: dict[str, Any]) -> None:
    """Enrol and start the nine, each of another owner."""
    enrolling = []
    for number, kind in enumerate(NODES, start=1):
        role = "operator" if number == 1 else f"operator-{number}"
        with sample.session(url=running.url, api_key=logins[role]["api_key"]) as api:
            token = api.post("nodes/enrollments/").raise_for_status().json()["token"]
        argv = stack.node_argv(
            running.node_home(number),
            *("enroll", "--portal", running.url, "--token", token, "--name", f"{number} {kind}"),
        )
        enrolling.append(running.start(f"enroll-{number}", argv))
    for process in enrolling:
        process.popen.wait(timeout=60)
        running.processes.pop(process.name)
    for number, kind in enumerate(NODES, start=1):
        home = str(running.node_home(number))
        program = ["workers.cli"] if kind == "honest" else ["bench.cheat", kind]
        argv = [sys.executable, "-m", *program, "--home", home, "run", "--priority", "low"]
        running.start(f"node-{number}", argv)


def buy(running: stack.Stack, api: Any, folder: Path, *, number: int, tier: str) -> Delivered:
    """Buy one job and compare what it delivered with the truth."""
    dataset = sample.upload(api, name=f"hostile {number}", photos=pictures(folder, seed=number))
    truth = platform.python(running, _TRUTH.format(dataset=dataset))
    started = time.monotonic()
    job_id = sample.submit(api, dataset=dataset, target_error=tier)["id"]
    sample.finish(api, job_id=job_id, seconds=JOB_SECONDS_MAX)
    seconds = time.monotonic() - started
    platform.say(f"job {number}: finished after {seconds:.1f} s")
    time.sleep(CALM_SECONDS)
    found = platform.python(running, _WRONG.format(truth=json.dumps(truth), job=job_id))
    platform.say(f"job {number}: {found}")
    return Delivered(seconds=seconds, **found)


def table(story: dict[str, Any]) -> str:
    """Return the nodes' rows as a Markdown table."""
    names = list(story["nodes"][0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in story["nodes"]]
    return "\n".join(lines)


def main() -> None:
    """Run the jobs, print who did what, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="1e-3", choices=["1e-2", "1e-3", "1e-4"])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--keep", action="store_true", help="leave the portal open at the end")
    options = parser.parse_args()
    with platform.running() as running:
        logins = platform.python(running, _CAST.format(count=len(NODES)))
        (running.data_dir / "logins.json").write_text(json.dumps(logins))
        start_nodes(running, logins)
        folder = running.data_dir / "pictures"
        folder.mkdir()
        with sample.session(url=running.url, api_key=logins["client"]["api_key"]) as api:
            stack.wait_until(lambda: _online(running) == len(NODES), seconds=120, what="the nodes")
            delivered = [
                buy(running, api, folder, number=number, tier=options.tier)
                for number in range(options.jobs)
            ]
        story = platform.python(running, _STORY)
        doctor = subprocess.run(
            [sys.executable, "manage.py", "doctor"], env=dict(running.environment), check=False,
            stdout=sys.stderr,
        )  # fmt: skip
        platform.say(table(story))
        for job in story["jobs"]:
            platform.say(str(job))
        if options.keep:
            platform.say(f"{running.url}, logins in {running.data_dir}/logins.json; Enter ends")
            sys.stdin.readline()
    items = sum(each.items for each in delivered)
    figures = {
        "tier": options.tier,
        "nodes": len(NODES),
        "items": items,
        "wrong": sum(each.wrong for each in delivered),
        "failed": sum(each.failed for each in delivered),
        "extra_work": round(story["computed"] / items - 1, 3),
        "struck": sum(row["strikes"] > 0 for row in story["nodes"]),
        "honest_struck": sum(
            row["strikes"] > 0 and row["name"].endswith("honest") for row in story["nodes"]
        ),
        "doctor": doctor.returncode == 0,
    }
    seconds = [each.seconds for each in delivered]
    noise = {"job_seconds": {"median": statistics.median(seconds), "max": max(seconds)}}
    platform.result("hostile", figures=figures, noise=noise)


def _online(running: stack.Stack) -> int:
    counted: int = platform.python(
        running,
        "from datetime import UTC, datetime\nfrom tasks import fleet\n"
        "print(json.dumps(fleet.online_count(now=datetime.now(UTC))))",
    )
    return counted


if __name__ == "__main__":
    main()
