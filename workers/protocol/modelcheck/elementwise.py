"""Sizes of operators that work number by number, and of reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from workers.protocol.modelcheck.facts import BOOL, UINT8, Case, Fact
from workers.protocol.modelcheck.graphs import DTYPES
from workers.protocol.modelcheck.operators import BOOLEAN


def unary(case: Case) -> list[Fact]:
    """One result like the first input; Dropout's and normalisations' further ones, too."""
    own = _OWN.get(case.node.op)
    if own is not None:
        return own(case)
    if case.node.op in BOOLEAN:
        return [case.same(dtype=BOOL)]
    return [case.same(), *(case.same() for _ in case.node.outputs[1:])]


def _cast(case: Case) -> list[Fact]:
    return [case.same(dtype=_type(case, case.node.integer("to", 0)))]


def _quantise(case: Case) -> list[Fact]:
    return [case.same(dtype=case.fact(2).dtype if case.has(2) else UINT8)]


def _dequantise(case: Case) -> list[Fact]:
    return [case.same(dtype=case.fact(1).dtype)]


def _dropout(case: Case) -> list[Fact]:
    training = case.fact(2).value if case.has(2) else np.zeros(1, np.bool_)
    if training is None or training.any():
        raise case.refuse("not_deterministic", "it would drop at random")
    return [case.same(), case.same(dtype=BOOL)]


def _local_normalisation(case: Case) -> list[Fact]:
    case.work += case.fact(0).elements * max(0, case.node.integer("size", 1))
    return [case.same()]


def _batch_normalisation(case: Case) -> list[Fact]:
    if case.node.integer("training_mode", 0):
        raise case.refuse("bad_attribute", "it is in training")
    return [case.same()]


_OWN: Mapping[str, Callable[[Case], list[Fact]]] = {
    "BatchNormalization": _batch_normalisation,
    "Cast": _cast,
    "DequantizeLinear": _dequantise,
    "Dropout": _dropout,
    "LRN": _local_normalisation,
    "QuantizeLinear": _quantise,
}


def broadcast(case: Case) -> list[Fact]:
    """One result of the shape that all inputs are stretched to."""
    facts = [each for each in case.inputs if each is not None]
    if not facts or len(facts) < len(case.inputs):
        raise case.refuse("bad_shape", "an input is missing")
    shape = common_shape(case, [each.shape for each in facts])
    dtype = BOOL if case.node.op in BOOLEAN else facts[-1 if case.node.op == "Where" else 0].dtype
    return [case.result(shape, dtype=dtype, is_exact=case.all_exact())]


def reduction(case: Case) -> list[Fact]:
    """One result without the axes reduced, or with 1 in their place."""
    source = case.fact(0)
    axes = case.node.integers("axes")
    if axes is None and case.has(1):
        axes = tuple(case.values(1))
    if not axes and case.node.integer("noop_with_empty_axes", 0):
        return [case.same()]
    gone = case.axes(axes or range(len(source.shape)), len(source.shape))
    case.work += source.elements
    return [case.result(without(source.shape, gone, keep=case.node.integer("keepdims", 1) != 0))]


def without(shape: Sequence[int], axes: Sequence[int], *, keep: bool) -> list[int]:
    """Return the shape with some axes gone, or 1."""
    if keep:
        return [1 if axis in axes else size for axis, size in enumerate(shape)]
    return [size for axis, size in enumerate(shape) if axis not in axes]


def common_shape(case: Case, shapes: Sequence[Sequence[int]]) -> list[int]:
    """Return the shape that these broadcast to (numpy's rule).

    Of shapes that are upper bounds the larger dimension counts.
    """
    rank = max(map(len, shapes))
    common = [1] * rank
    for shape in shapes:
        for place, size in enumerate(shape, start=rank - len(shape)):
            if common[place] == 1:
                common[place] = size
            elif size not in (1, common[place]):
                if case.all_exact():
                    raise case.refuse("bad_shape", f"{shapes} do not fit"[:200])
                common[place] = max(common[place], size)
    return common


def _type(case: Case, dtype: int) -> int:
    if dtype not in DTYPES:
        raise case.refuse("bad_type", f"type {dtype}")
    return dtype
