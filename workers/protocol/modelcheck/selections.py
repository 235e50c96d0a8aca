"""Sizes of operators that pick numbers; some pick a number of them nobody knows beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.protocol.modelcheck.elementwise import without
from workers.protocol.modelcheck.facts import INT64, Case, Fact


def _gather(case: Case) -> Fact:
    source, places = case.fact(0), case.fact(1)
    axis = case.axis(case.node.integer("axis", 0), len(source.shape))
    shape = [*source.shape[:axis], *places.shape, *source.shape[axis + 1 :]]
    return case.result(shape, is_exact=case.all_exact())


def _gather_elements(case: Case) -> Fact:
    return case.result(case.fact(1).shape, is_exact=case.fact(1).is_exact)


def _non_zero(case: Case) -> Fact:
    source = case.fact(0)
    return case.result([len(source.shape), source.elements], dtype=INT64, is_exact=False)


def _gather_nd(case: Case) -> Fact:
    source, places = case.fact(0), case.fact(1)
    batch = case.node.integer("batch_dims", 0)
    if not places.shape or not 0 <= batch < min(len(source.shape), len(places.shape)):
        raise case.refuse("bad_shape", f"{places.shape} of {source.shape}")
    depth = places.shape[-1]
    if not 1 <= depth <= len(source.shape) - batch:
        raise case.refuse("bad_shape", f"{places.shape} of {source.shape}")
    shape = [*places.shape[:-1], *source.shape[batch + depth :]]
    return case.result(shape, is_exact=case.all_exact())


def _top_k(case: Case) -> list[Fact]:
    source = case.fact(0)
    axis = case.axis(case.node.integer("axis", -1), len(source.shape))
    (count,) = case.values(1) if case.fact(1).elements == 1 else (-1,)
    if count < 0 or (source.is_exact and count > source.shape[axis]):
        raise case.refuse("bad_value", f"{count} of {source.shape}")
    shape = list(source.shape)
    shape[axis] = min(count, shape[axis])
    case.work += 32 * source.elements
    return [case.result(shape), case.result(shape, dtype=INT64)]


def _suppression(case: Case) -> Fact:
    boxes, scores = case.fact(0).shape, case.fact(1).shape
    if len(boxes) != 3 or len(scores) != 3:
        raise case.refuse("bad_shape", f"{boxes} and {scores}")
    most = case.fact(2).value if case.has(2) else None
    limit = scores[2] if most is None else max(0, min(int(most.reshape(-1)[0]), scores[2]))
    if case.has(2) and most is None:
        limit = scores[2]
    kept = scores[0] * scores[1] * limit
    # Each box is held against each one kept before.
    case.work += scores[0] * scores[1] * scores[2] * max(1, limit) * 8
    return case.result([kept, 3], dtype=INT64, is_exact=False)


def _one_hot(case: Case) -> Fact:
    places, depth = case.fact(0), case.values(1)
    rank = len(places.shape) + 1
    axis = case.axis(case.node.integer("axis", -1), rank)
    if len(depth) != 1:
        raise case.refuse("bad_value", "depth is not one number")
    shape = [*places.shape[:axis], depth[0], *places.shape[axis:]]
    return case.result(shape, dtype=case.fact(2).dtype)


def _arg(case: Case) -> Fact:
    source = case.fact(0)
    axis = case.axis(case.node.integer("axis", 0), len(source.shape))
    case.work += source.elements
    keep = case.node.integer("keepdims", 1) != 0
    return case.result(without(source.shape, [axis], keep=keep), dtype=INT64)


_SINGLE: Mapping[str, Callable[[Case], Fact]] = {
    "ArgMax": _arg,
    "ArgMin": _arg,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonMaxSuppression": _suppression,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
}


def selection(case: Case) -> list[Fact]:
    """Return the results of one operator."""
    return _top_k(case) if case.node.op == "TopK" else [_SINGLE[case.node.op](case)]
