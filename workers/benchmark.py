"""How many pictures a second one slot of this machine computes with a model.

For showing what a node may earn, never for paying it: work is paid by the piece.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from workers import answering, config, execution
from workers.config import Home
from workers.execution import ModelSource, Workshop
from workers.protocol.messages import Digest
from workers.sessions import OpenModel

#: A photograph of this size is what jobs are made of.
WIDTH, HEIGHT = 640, 480
#: Pictures of the short measure at the first start; the fastest counts, as other programs
#: can only slow one down.
PICTURES_QUICK = 5
FLOOR = 0.25
FILE_BYTES_MAX = 4096


class Speed(BaseModel):
    """What was measured, and for which model."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model_digest: Digest
    software_version: str
    images_per_second: float


def quick(model: ModelSource, *, workshop: Workshop, home: Home) -> Speed:
    """Return the speed of one slot, measured once for each model and version.

    Raises:
        What `execution.open_model` raises.
    """
    known = read(home)
    if known and (known.model_digest, known.software_version) == (
        model.digest,
        config.software_version(),
    ):
        return known
    opened = execution.open_model(model, workshop=workshop)
    photograph = make_photograph()
    _compute(opened, photograph)  # the first one also allocates
    fastest = min(_compute(opened, photograph) for _ in range(PICTURES_QUICK))
    speed = Speed(
        model_digest=model.digest,
        software_version=config.software_version(),
        images_per_second=round(1 / fastest, 2),
    )
    config.write_atomically(home.benchmark_file, speed.model_dump_json().encode())
    return speed


def read(home: Home) -> Speed | None:
    """Return what was measured last; None when nothing was."""
    try:
        with home.benchmark_file.open("rb") as file:
            return Speed.model_validate_json(file.read(FILE_BYTES_MAX))
    except (OSError, ValidationError):
        return None


def run(model: ModelSource, *, workshop: Workshop, slots: int, seconds: float) -> list[float]:
    """Compute on all slots at once for a while; return each slot's pictures per second.

    Raises:
        What `execution.open_model` raises.
    """
    opened = execution.open_model(model, workshop=workshop)
    photograph = make_photograph()
    _compute(opened, photograph)
    with ThreadPoolExecutor(slots) as pool:
        rates = [pool.submit(_rate, opened, photograph, seconds) for _ in range(slots)]
    return [rate.result() for rate in rates]


def make_photograph() -> bytes:
    """Return a picture as costly to decode as a photograph: noise over a gradient."""
    random = np.random.default_rng(7)
    gradient = np.linspace(0, 160, WIDTH, dtype=np.float32)[None, :, None]
    noise = random.uniform(0, 90, (HEIGHT, WIDTH, 3)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray((gradient + noise).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _rate(opened: OpenModel, photograph: bytes, seconds: float) -> float:
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        _compute(opened, photograph)
        count += 1
    return count / spent


def _compute(opened: OpenModel, photograph: bytes) -> float:
    """Return the seconds from bytes to the model's tensors."""
    started = time.perf_counter()
    answering.run(photograph, opened, floor=FLOOR)
    return time.perf_counter() - started
