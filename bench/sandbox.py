"""What the locked room costs: images a second in it, over those in this process.

Both sides do all that a node does with a picture: decode, run, turn into detections. They take
turns picture by picture on the same photographs, at the same priority; the figure is the median
of the rounds' ratios.

    bin/bench sandbox [--model FILE] [--rounds 15]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Before the runtime is loaded here: its thread for usage figures would be measured, too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from tasks.conversion import pinned
from workers import declarations, sandbox, sessions, vision
from workers.protocol import manifest, pictures, preparation
from workers.protocol.modelcheck import reading
from workers.room.graphs import Graph

PHOTOS = Path(__file__).parents[1] / "portal" / "photos"
FLOOR = 0.3
#: Times the photographs are computed in one round of one side.
REPEATS = 3
#: Times they are computed to compare processor time, which is counted in hundredths.
PROCESSOR_REPEATS = 8

Run = Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or Path(scratch) / "detector.onnx"
        if options.model is None:
            pinned.build(model)
        _compare(model, rounds=options.rounds)


def _compare(model: Path, *, rounds: int) -> None:
    content = model.read_bytes()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.png"))]
    declared = declarations.declare(reading.read(content), manifest.DETECTOR)
    graph = Graph(content, inputs=declared.inputs, outputs=declared.outputs)
    room = sandbox.open_room(
        model,
        digest=hashlib.sha256(content).hexdigest(),
        inputs=declared.inputs,
        outputs=declared.outputs,
        room_limits=sandbox.RoomLimits(priority="normal"),
    )
    with contextlib.closing(room):
        sides: dict[str, Run] = {
            "in_process": graph.run,
            "in_room": lambda feeds: list(room.run(feeds).values()),
        }
        _check_equal(sides, photos)
        measured = _measure(sides, photos, rounds=rounds)
        figures = {
            "processor_vs_in_process": round(_processor_ratio(sides, photos, pid=room.pid), 4),
            "room_mib": round(_resident_mib(room.pid)),
        }
    _report(measured, pictures=REPEATS * len(photos), figures=figures)


def _measure(sides: dict[str, Run], photos: list[bytes], *, rounds: int) -> list[dict[str, float]]:
    """Return the seconds of each side by round; they take turns picture by picture."""
    measured = []
    for number in range(rounds):
        seconds = dict.fromkeys(sides, 0.0)
        for turn, data in enumerate(photos * REPEATS):
            for name in sorted(sides, reverse=bool((number + turn) % 2)):
                started = time.perf_counter()
                _compute(sides[name], data)
                seconds[name] += time.perf_counter() - started
        measured.append(seconds)
        sys.stderr.write(f"round {number + 1}: {seconds}\n")
    return measured


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor_ratio(sides: dict[str, Run], photos: list[bytes], *, pid: int) -> float:
    """Return processor time of this process alone over that of both; load hardly moves it."""
    seconds = {}
    for name, run in sides.items():
        started = time.process_time() + _processor_seconds(pid)
        for data in photos * PROCESSOR_REPEATS:
            _compute(run, data)
        seconds[name] = time.process_time() + _processor_seconds(pid) - started
    return seconds["in_process"] / seconds["in_room"]


def _compute(run: Run, data: bytes) -> object:
    image = pictures.read(data).image
    prepared = preparation.prepare(image, manifest.DETECTOR.input)
    threshold = np.array([FLOOR], dtype=np.float32)
    return vision.detections(
        run({"image": prepared.tensor, "score_threshold": threshold}),
        manifest.DETECTOR.output,
        frame=prepared.frame,
        width=image.width,
        height=image.height,
        floor=FLOOR,
        class_ids=range(91),
    )


def _check_equal(sides: dict[str, Run], photos: list[bytes]) -> None:
    """Warm both sides up and see that they answer the same, bit by bit."""
    for data in photos:
        first, second = (_compute(run, data) for run in sides.values())
        if first != second:
            raise SystemExit("The room answers otherwise than this process.")


def _report(measured: list[dict[str, float]], *, pictures: int, figures: dict[str, Any]) -> None:
    ratios = [each["in_process"] / each["in_room"] for each in measured]
    quarters = statistics.quantiles(ratios, n=4)
    result = {
        "bench": "sandbox",
        "figures": {
            "vs_in_process": round(statistics.median(ratios), 4),
            **{
                f"{name}_per_s": round(
                    pictures / statistics.median(each[name] for each in measured), 2
                )
                for name in ("in_process", "in_room")
            },
            **figures,
            "numeric_class": sessions.numeric_class(),
        },
        "noise": {
            "vs_in_process_quartiles": [round(quarters[0], 4), round(quarters[2], 4)],
            "rounds": len(ratios),
            "load": round(os.getloadavg()[0], 1),
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.release()}",
    }
    print(json.dumps(result))


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the detector's ONNX file; built when left out")
    parser.add_argument("--rounds", type=int, default=15)
    return parser


if __name__ == "__main__":
    main()
