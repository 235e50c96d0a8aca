"""How much of a machine's computing do nodes keep? Real nodes beside a bare loop.

Each round both sides compute the same photographs, one after the other, while the other
side idles; which goes first changes from round to round. A side's figure is pictures computed
a second, audits and gold pictures among them; the nodes' records are long, so that one answer
is believed, and what is computed twice counts twice. The nodes' clock runs from the submission
to the last chunk's decision; nothing is taken off for announcing, fetching or deciding.

The platform and its servers run on the same cores and are on the bill as well. With as many
nodes as cores that is the harshest case; `vs_plain_loop_one` is one node beside one process
of the loop, which leaves the platform a core, as machines of volunteers do.

    bin/bench images [--pictures 256] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench import measures, photographs, plain_loop, platform, processors, real_nodes
from portal.demo import sample, stack
from tasks.conversion import pinned

SCORE_FLOOR = 0.35
UPLOAD_FILES = 50
#: Real nodes, one slot each; then one alone.
NODES_MAX = 2
#: Groups of processes: the nodes themselves, and the rooms in which their models run.
NODES, ROOMS = "nodes", "rooms"

_COMPUTED = """
from tasks.models import Replica
computed = Replica.objects.filter(job_id={job_id!r}, answer__isnull=False)
shown = computed.filter(gold__isnull=False).count()
print(json.dumps(shown + sum(computed.values_list("chunk__items_count", flat=True))))
"""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One side's turn in a round."""

    pictures: int
    seconds: float
    #: Processor milliseconds for a picture, by who spent them.
    processor_ms: dict[str, float]

    @property
    def per_second(self) -> float:
        """Pictures computed a second."""
        return self.pictures / self.seconds


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    # The referee computes on the platform's own machine, which here would be the nodes'.
    with platform.running(variables={"NODEFOLK_REFEREE_IMAGES_PER_HOUR": "0"}) as running:
        photos = photographs.make(running.data_dir / "photos", count=options.pictures)
        built = pinned.build(running.data_dir / "detector.onnx")
        crew = real_nodes.start(running, count=NODES_MAX)
        with sample.session(url=running.url, api_key=crew.api_key) as api:
            dataset = upload(api, photos)
            found = {}
            for count in range(NODES_MAX, 0, -1):
                crew = real_nodes.keep(running, crew, count=count)
                share = photos[: len(photos) // count]
                with plain_loop.running(built.path, share, count=count, floor=SCORE_FLOOR) as loops:
                    submit(running, api, dataset=dataset, crew=crew)  # warm, outside the clock
                    found[count] = [
                        _round(running, api, loops, number, dataset=dataset, crew=crew)
                        for number in range(options.rounds)
                    ]
    _report(found)


def _round(
    running: stack.Stack,
    api: httpx.Client,
    loops: plain_loop.Loops,
    number: int,
    *,
    dataset: str,
    crew: real_nodes.Crew,
) -> dict[str, Turn]:
    """Let both sides have their turn; return them by name."""
    sides: dict[str, Turn] = {}
    for name in ("plain", "nodes") if number % 2 else ("nodes", "plain"):
        if name == "plain":
            sides[name] = run_plain(loops)
        else:
            sides[name] = submit(running, api, dataset=dataset, crew=crew)
    _tell(number, sides, nodes=len(crew.names))
    return sides


def upload(api: httpx.Client, photos: list[Path]) -> str:
    """Make a data set of the photographs; return its id."""
    dataset = sample.upload(api, name="photographs", photos=photos[:UPLOAD_FILES])
    for start in range(UPLOAD_FILES, len(photos), UPLOAD_FILES):
        part = photos[start : start + UPLOAD_FILES]
        files = [("files", (photo.name, photo.read_bytes())) for photo in part]
        answer = api.post(f"datasets/{dataset}/images/", files=files).raise_for_status().json()
        if answer["rejected"]:
            raise SystemExit(f"The portal refused photographs: {answer['rejected']}")
    return dataset


def run_plain(loops: plain_loop.Loops) -> Turn:
    """Let the bare loops compute; the nodes have nothing to do meanwhile."""
    pictures = loops.pictures
    meter = processors.Meter({"plain": loops.pids})
    seconds = loops.run()
    return Turn(pictures=pictures, seconds=seconds, processor_ms=meter.milliseconds(units=pictures))


def submit(running: stack.Stack, api: httpx.Client, *, dataset: str, crew: real_nodes.Crew) -> Turn:
    """Buy the data set's detection and wait for its end; the loops wait meanwhile."""
    others = {
        name: [process.popen.pid]
        for name, process in running.processes.items()
        if name not in crew.names
    }
    nodes = {NODES: real_nodes.pids(running, crew)}
    meter = processors.Meter(nodes | others | platform.server_pids(running), apart={NODES: ROOMS})
    job_id = sample.submit(api, dataset=dataset, score_threshold=SCORE_FLOOR + 0.05)["id"]
    job = _wait(api, job_id)
    computed = int(platform.python(running, _COMPUTED.format(job_id=job_id)))
    timing = job["timing"]
    begun, ended = (datetime.fromisoformat(timing[key]) for key in ("submitted_at", "finished_at"))
    return Turn(
        pictures=computed,
        seconds=(ended - begun).total_seconds(),
        processor_ms=meter.milliseconds(units=computed),
    )


def _wait(api: httpx.Client, job_id: str) -> dict[str, Any]:
    """Ask seldom: asking costs processor time that the nodes then miss."""
    while True:
        job: dict[str, Any] = api.get(f"jobs/{job_id}/").raise_for_status().json()
        if job["state"] in sample.ENDED:
            break
        time.sleep(1)
    if job["state"] != "finished" or job["progress"]["failed"]:
        raise SystemExit(f"The job did not come to its end: {job['state']}, {job['progress']}")
    return job


def _tell(number: int, sides: dict[str, Turn], *, nodes: int) -> None:
    plain, ours = sides["plain"], sides["nodes"]
    platform.say(
        f"{nodes} nodes, round {number}: plain {plain.per_second:.1f}/s,"
        f" nodes {ours.per_second:.1f}/s, ratio {ours.per_second / plain.per_second:.3f};"
        f" processor ms a picture {_rounded(plain.processor_ms | ours.processor_ms)}"
    )


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in figures.items()}


def _report(found: dict[int, list[dict[str, Turn]]]) -> None:
    figures: dict[str, Any] = {}
    noise: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
    for count, rounds in found.items():
        end = "" if count == NODES_MAX else "_one"
        plain, ours = ([each[name].per_second for each in rounds] for name in ("plain", "nodes"))
        ratios = measures.ratios(ours, plain)
        spent = [each["plain"].processor_ms | each["nodes"].processor_ms for each in rounds]
        figures |= {
            f"vs_plain_loop{end}": round(statistics.median(ratios), 3),
            f"images_per_s{end}": round(statistics.median(ours), 1),
            f"plain_images_per_s{end}": round(statistics.median(plain), 1),
            f"processor_ms_per_image{end}": _rounded(
                {name: statistics.median(each[name] for each in spent) for name in spent[0]}
            ),
        }
        noise |= {
            f"vs_plain_loop{end}": measures.spread(ratios),
            f"plain_images_per_s{end}": measures.spread(plain, digits=1),
        }
    platform.result("images", figures=figures, noise=noise)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    return parser


if __name__ == "__main__":
    main()
