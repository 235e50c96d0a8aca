"""The baseline of `images`: ONNX Runtime in a loop, with nothing around it.

Processes of their own, one thread each. They do what an answer needs and no more: read the
file, decode, prepare and read the tensors as a node does (its own modules), run the model in
a session with the runtime's defaults.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

# Before the runtime is loaded: its thread for usage figures would be measured, too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import onnxruntime

from workers import vision
from workers.protocol import manifest, pictures, preparation

#: Class ids of the detector, for the same filter as on a node.
CLASS_IDS = frozenset(range(91))


class Loops:
    """Some processes that wait for the word to compute all pictures once."""

    def __init__(self, processes: list[tuple[BaseProcess, Connection]], *, pictures: int) -> None:
        self._processes = processes
        #: Pictures that all of them compute together in one run.
        self.pictures = pictures

    @property
    def pids(self) -> list[int]:
        """Return the processes, for their processor time."""
        return [process.pid for process, _ in self._processes if process.pid is not None]

    def run(self) -> float:
        """Let each process compute every picture; return the seconds until all are done."""
        started = time.perf_counter()
        for _, pipe in self._processes:
            pipe.send("run")
        for _, pipe in self._processes:
            pipe.recv()
        return time.perf_counter() - started


@contextmanager
def running(model: Path, photos: Sequence[Path], *, count: int, floor: float) -> Iterator[Loops]:
    """Start `count` processes with an open session and every picture computed once."""
    spawn = multiprocessing.get_context("spawn")
    started = []
    for _ in range(count):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, model, photos, floor), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        for _, pipe in started:
            pipe.recv()
        yield Loops(started, pictures=count * len(photos))
    finally:
        for process, pipe in started:
            pipe.close()
            process.join(10)


def _serve(pipe: Connection, model: Path, photos: Sequence[Path], floor: float) -> None:
    session = _session(model)
    _compute_all(session, photos, floor)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        _compute_all(session, photos, floor)
        pipe.send("done")


def _session(model: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.read_bytes(), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _compute_all(session: Any, photos: Sequence[Path], floor: float) -> None:
    contract = manifest.DETECTOR
    threshold = np.array([floor], dtype=np.float32)
    for path in photos:
        image = pictures.read(path.read_bytes()).image
        prepared = preparation.prepare(image, contract.input)
        feeds = {contract.input.name: prepared.tensor, contract.threshold_input: threshold}
        vision.detections(
            session.run(contract.output_names, feeds),
            contract.output,
            frame=prepared.frame,
            width=image.width,
            height=image.height,
            floor=floor,
            class_ids=CLASS_IDS,
        )
