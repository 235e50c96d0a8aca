"""From a picture's bytes to its answer: decode, prepare, bound, run, read the tensors."""

from __future__ import annotations

import numpy as np

from workers import vision
from workers.protocol import messages, pictures, preparation
from workers.protocol.manifest import Classes, Contract
from workers.protocol.modelcheck import fitting
from workers.sessions import OpenModel

#: Picture sizes whose bounds are remembered; each is checked once a model.
SIZES_MAX = 4096


def answer(
    data: bytes,
    model: OpenModel,
    *,
    reference: messages.ModelReference,
    position: int,
    floor: float,
) -> messages.Answer:
    """Return what the model says of one picture.

    Raises:
        protocol.pictures.Unreadable, protocol.modelcheck.refusals.Refused,
        protocol.decoders.outputs.BadOutput, sessions.Unusable, sessions.OutOfMemory.
    """
    image = pictures.read(data).image
    contract = reference.contract
    _check_bounds(model, contract, image.width, image.height)
    prepared = preparation.prepare(image, contract.input)
    feeds = {contract.input.name: prepared.tensor}
    if contract.threshold_input is not None:
        feeds[contract.threshold_input] = np.array([floor], dtype=np.float32)
    tensors = model.run(feeds, contract.output_names)
    if isinstance(contract.output, Classes):
        found = vision.classes(tensors, contract.output, count=len(reference.class_ids))
        return messages.Answer(
            position=position, width=image.width, height=image.height, detections=[], classes=found
        )
    return messages.Answer(
        position=position,
        width=image.width,
        height=image.height,
        detections=vision.detections(
            tensors,
            contract.output,
            frame=prepared.frame,
            width=image.width,
            height=image.height,
            floor=floor,
            class_ids=frozenset(reference.class_ids),
        ),
    )


def _check_bounds(model: OpenModel, contract: Contract, width: int, height: int) -> None:
    """Check, before the runtime sees it, what a picture of this size can make it do."""
    size = (contract, preparation.shape(contract.input, width=width, height=height))
    if size in model.sizes_checked:
        return
    fitting.check(model.graph, contract, width=width, height=height)
    if len(model.sizes_checked) < SIZES_MAX:
        model.sizes_checked.add(size)
