"""From a picture's bytes to its answer: decode, prepare, bound, run, read the tensors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers import vision
from workers.protocol import messages, pictures, preparation
from workers.protocol.manifest import Classes
from workers.protocol.modelcheck import fitting
from workers.protocol.preparation import Frame
from workers.sessions import OpenModel

#: Picture sizes whose bounds are remembered; each is checked once a model.
SIZES_MAX = 4096


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a model said of a picture of `width` x `height` pixels."""

    tensors: Sequence[NDArray[Any]]
    frame: Frame
    width: int
    height: int


def answer(
    data: bytes,
    model: OpenModel,
    *,
    class_ids: Collection[int],
    position: int,
    floor: float,
) -> messages.Answer:
    """Return what the model says of one picture.

    Raises:
        protocol.decoders.outputs.BadOutput, and what `run` raises.
    """
    asked = run(data, model, floor=floor)
    output = model.contract.output
    if isinstance(output, Classes):
        found = vision.classes(asked.tensors, output, count=len(class_ids))
        return messages.Answer(
            position=position, width=asked.width, height=asked.height, detections=[], classes=found
        )
    return messages.Answer(
        position=position,
        width=asked.width,
        height=asked.height,
        detections=vision.detections(
            asked.tensors,
            output,
            frame=asked.frame,
            width=asked.width,
            height=asked.height,
            floor=floor,
            class_ids=frozenset(class_ids),
        ),
    )


def run(data: bytes, model: OpenModel, *, floor: float) -> Asked:
    """Return the model's tensors for one picture, not yet read.

    Raises:
        protocol.pictures.Unreadable, protocol.modelcheck.refusals.Refused, sessions.Unusable,
        sessions.OutOfMemory, sandbox.RoomFailed.
    """
    image = pictures.read(data).image
    contract = model.contract
    _check_bounds(model, image.width, image.height)
    prepared = preparation.prepare(image, contract.input)
    feeds = {contract.input.name: prepared.tensor}
    if contract.threshold_input is not None:
        feeds[contract.threshold_input] = np.array([floor], dtype=np.float32)
    return Asked(
        tensors=model.run(feeds), frame=prepared.frame, width=image.width, height=image.height
    )


def _check_bounds(model: OpenModel, width: int, height: int) -> None:
    """Check, before the runtime sees it, what a picture of this size can make it do."""
    size = preparation.shape(model.contract.input, width=width, height=height)
    if size in model.sizes_checked:
        return
    fitting.check(model.graph, model.contract, width=width, height=height)
    if len(model.sizes_checked) < SIZES_MAX:
        model.sizes_checked.add(size)
