"""A classifier's one tensor: how likely each class is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.protocol.decoders import outputs
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.manifest import Classes

#: Probabilities of an 8-bit model are steps of 1/256, so their sum is only about 1.
SUM_SLACK: Final = 0.05


def decode(tensors: Sequence[Any], how: Classes, *, classes: int) -> NDArray[np.float64]:
    """Return the probability of each class, (classes,).

    Raises:
        outputs.BadOutput: also when there are more or fewer than `classes`.
    """
    given = outputs.numbers(how.output, tensors[0], ndim=(1, 2, 3, 4))
    if given.size != classes or given.size != max(given.shape):
        raise BadOutput("output_shape", how.output, f"{given.shape} for {classes} classes")
    values = given.reshape(classes)
    if how.values == "logits":
        return outputs.softmax(values)
    probabilities = outputs.checked_scores(how.output, values).astype(np.float64)
    if abs(probabilities.sum() - 1) > SUM_SLACK:
        raise BadOutput("output_out_of_range", how.output, "the probabilities do not sum to 1")
    return probabilities


def likeliest(probabilities: NDArray[np.float64], *, count: int) -> list[tuple[int, float]]:
    """Return the likeliest classes with their probability; ties by the smaller number."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(int(number), float(probabilities[number])) for number in order]
