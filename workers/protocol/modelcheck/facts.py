"""What is known of a tensor before the model runs, and the questions rules ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.protocol.modelcheck import limits
from workers.protocol.modelcheck.graphs import DTYPES, Node
from workers.protocol.modelcheck.refusals import Refused

UINT8, INT64, BOOL = 2, 7, 9


@dataclass(frozen=True, slots=True)
class Fact:
    """A tensor's type and size.

    `is_exact`: the shape is the real one; else each dimension is its largest. `value` is
    there when it follows from shapes and constants alone.
    """

    dtype: int
    shape: tuple[int, ...]
    is_exact: bool = True
    value: NDArray[Any] | None = None

    @property
    def elements(self) -> int:
        """How many numbers it has at most."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes it has at most."""
        return self.elements * np.dtype(DTYPES[self.dtype]).itemsize


@dataclass(slots=True)
class Case:
    """One operator with what is known of its inputs."""

    node: Node
    inputs: Sequence[Fact | None]
    opset: int
    #: Multiplications, added to by rules whose work is more than their output.
    work: int = field(default=0)

    def refuse(self, code: str, detail: str) -> Refused:
        """Return a refusal that names this operator."""
        return Refused(code, f"{self.node.op}: {detail}", tensor=self.node.name)

    def has(self, place: int) -> bool:
        """Say whether the input is given."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def fact(self, place: int) -> Fact:
        """Return an input that must be there."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise self.refuse("bad_shape", f"input {place} is missing")
        return found

    def values(self, place: int) -> list[int]:
        """Return an input's integers, which must follow from shapes and constants.

        Raises:
            Refused: shape_unknown, or bad_value when they are no integers.
        """
        value = self.fact(place).value
        if value is None:
            raise self.refuse("shape_unknown", f"input {place} is not known beforehand")
        if value.dtype.kind not in "iu":
            raise self.refuse("bad_value", f"input {place} is not of integers")
        return [int(each) for each in value.reshape(-1)]

    def axis(self, axis: int, rank: int) -> int:
        """Return a non-negative axis."""
        if not -rank <= axis < rank:
            raise self.refuse("bad_value", f"axis {axis} of {rank} dimensions")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Return non-negative, distinct axes."""
        found = [self.axis(each, rank) for each in axes]
        if len(set(found)) < len(found):
            raise self.refuse("bad_value", "an axis stands twice")
        return found

    def same(self, place: int = 0, *, dtype: int | None = None) -> Fact:
        """Return a result of the shape of an input."""
        source = self.fact(place)
        return Fact(source.dtype if dtype is None else dtype, source.shape, source.is_exact)

    def result(
        self, shape: Sequence[int], *, dtype: int | None = None, is_exact: bool | None = None
    ) -> Fact:
        """Return a result; by default of the first input's type and exactness."""
        if min(shape, default=0) < 0 or len(shape) > limits.DIMENSIONS_MAX:
            raise self.refuse("bad_shape", f"a result of shape {tuple(shape)}"[:120])
        first = self.fact(0) if dtype is None or is_exact is None else None
        return Fact(
            dtype if dtype is not None else first.dtype,  # type: ignore[union-attr]  # set above
            tuple(shape),
            first.is_exact if is_exact is None else is_exact,  # type: ignore[union-attr]  # too
        )

    def all_exact(self) -> bool:
        """Say whether the shapes of all inputs are the real ones."""
        return all(each is None or each.is_exact for each in self.inputs)
