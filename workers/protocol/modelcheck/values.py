"""Follow the values of small tensors that later become shapes, axes and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.protocol.modelcheck import limits
from workers.protocol.modelcheck.facts import Case, Fact
from workers.protocol.modelcheck.graphs import DTYPES, Tensor

Array = NDArray[Any]

_BINARY: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
}
_UNARY: Final[Mapping[str, Callable[[Array], Array]]] = {
    "Identity": np.copy,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
}


def follow(case: Case, fact: Fact) -> Fact:
    """Return the result with its value, where that follows from the inputs' values."""
    given = [None if each is None else each.value for each in case.inputs]
    if fact.value is not None or not fact.is_exact or fact.elements > limits.VALUES_MAX:
        return fact
    needed = [value for each, value in zip(case.inputs, given, strict=True) if each is not None]
    if any(value is None for value in needed):
        return fact
    with np.errstate(all="ignore"):
        value = _compute(case, given, fact)
    if value is None or value.shape != fact.shape:
        return fact
    return Fact(fact.dtype, fact.shape, value=value.astype(DTYPES[fact.dtype], copy=False))


def _compute(case: Case, given: Sequence[Array | None], fact: Fact) -> Array | None:
    op, first = case.node.op, given[0] if given else None
    if first is None:
        return None
    if op in _UNARY:
        return _UNARY[op](first)
    if op in _BINARY and len(given) == 2 and given[1] is not None:
        return _BINARY[op](first, given[1])
    if op in {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}:
        return first.reshape(fact.shape)
    return _arranged(case, given, first, fact)


def _arranged(  # noqa: C901, PLR0911 -- one line for each operator
    case: Case, given: Sequence[Array | None], first: Array, fact: Fact
) -> Array | None:
    node, rest = case.node, [each for each in given[1:] if each is not None]
    match node.op:
        case "Cast":
            return first.astype(DTYPES[fact.dtype])
        case "Div" if len(rest) == 1:
            return _quotient(first, rest[0])
        case "Gather" if len(rest) == 1:
            axis = node.integer("axis", 0)
            side = first.shape[axis]
            inside = np.all((rest[0] >= -side) & (rest[0] < side))
            return np.take(first, rest[0], axis=axis) if inside else None
        case "Concat":
            return np.concatenate([first, *rest], axis=node.integer("axis", 0))
        case "Slice":
            return _slice(case, first, fact)
        case "Where" if len(rest) == 2:
            return np.where(first, rest[0], rest[1])
        case "ConstantOfShape":
            fill = node.attributes.get("value")
            value = fill.value if isinstance(fill, Tensor) else np.zeros(1, np.float32)
            return None if value is None else np.full(fact.shape, value.reshape(-1)[0])
        case "Range":
            # The sum of start and multiples of the step, as the runtime counts.
            return first.reshape(()) + np.arange(fact.shape[0]) * rest[1].reshape(())
        case "Transpose":
            return first.transpose(node.integers("perm"))
        case "Expand":
            return np.broadcast_to(first, fact.shape)
        case "ReduceProd" if not rest:
            return np.asarray(first.prod()).reshape(fact.shape) if fact.elements == 1 else None
        case _:
            return None


def _quotient(left: Array, right: Array) -> Array | None:
    if left.dtype.kind == "f":
        return left / right
    if not np.all(right):
        return None
    # The runtime cuts towards zero, numpy rounds down.
    return (np.abs(left) // np.abs(right)) * np.sign(left) * np.sign(right)


def _slice(case: Case, first: Array, fact: Fact) -> Array | None:
    starts, ends = case.values(1), case.values(2)
    axes = case.values(3) if case.has(3) else list(range(len(starts)))
    steps = case.values(4) if case.has(4) else [1] * len(starts)
    if min(steps) < 1:
        return None
    cut = [slice(None)] * first.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(start, end, step)
    found: Array = first[tuple(cut)]
    return found if found.shape == fact.shape else None
