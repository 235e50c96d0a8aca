"""A model's raw tensors, checked before anything is computed with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Elements of one output tensor; YOLO's largest has about 3 million.
ELEMENTS_MAX: Final = 16 * 1024 * 1024
#: Rounding error a score may show outside of 0..1.
SCORE_SLACK: Final = 1e-3


class BadOutput(Exception):
    """A tensor breaks the contract: `code` says how, `tensor` which one.

    Codes: output_shape, output_type, output_too_large, output_not_finite,
    output_out_of_range.
    """

    def __init__(self, code: str, tensor: str, detail: str) -> None:
        super().__init__(f"{tensor}: {detail}")
        self.code = code
        self.tensor = tensor


@dataclass(frozen=True, kw_only=True)
class Found:
    """Candidates of one picture, in no order."""

    #: (n, 4) left, top, right, bottom in pixels of the model's picture.
    boxes: NDArray[np.float64]
    #: (n,) 0..1.
    scores: NDArray[np.float32]
    #: (n,)
    class_ids: NDArray[np.int64]


def numbers(name: str, value: Any, *, ndim: tuple[int, ...]) -> NDArray[Any]:
    """Return a numeric tensor of finite numbers with one of the `ndim`.

    Raises:
        BadOutput: another type, too many elements, another rank, NaN or infinity.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise BadOutput("output_type", name, "not a tensor of numbers")
    if value.size > ELEMENTS_MAX:
        raise BadOutput("output_too_large", name, f"{value.size} elements")
    if value.ndim not in ndim:
        raise BadOutput("output_shape", name, f"shape {value.shape}")
    if not np.isfinite(value).all():
        raise BadOutput("output_not_finite", name, "a value is not a finite number")
    return value


def unbatched(name: str, value: NDArray[Any], *, ndim: int) -> NDArray[Any]:
    """Take off a leading batch of 1 if there is one.

    Raises:
        BadOutput: the batch is not 1.
    """
    if value.ndim == ndim:
        return value
    if value.shape[0] != 1:
        raise BadOutput("output_shape", name, f"shape {value.shape}: a batch of 1 is wanted")
    squeezed: NDArray[Any] = value[0]
    return squeezed


def checked_scores(name: str, scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return scores as float32 in 0..1, rounding error cut off.

    Raises:
        BadOutput: a score lies further outside.
    """
    if scores.size and not (scores.min() >= -SCORE_SLACK and scores.max() <= 1 + SCORE_SLACK):
        raise BadOutput("output_out_of_range", name, "a score lies outside of 0..1")
    return np.clip(scores.astype(np.float32), 0, 1)


def sigmoid(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    real = values.astype(np.float64)
    small = np.exp(-np.abs(real))
    result: NDArray[np.float64] = np.where(real >= 0, 1 / (1 + small), small / (1 + small))
    return result


def softmax(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the softmax over the last axis, without overflow."""
    real = values.astype(np.float64)
    powers = np.exp(real - real.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def corners(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn centre x, centre y, width, height (n, 4) into left, top, right, bottom."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)
