"""Sizes of operators that move, repeat or cut numbers without computing with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from workers.protocol.modelcheck.facts import INT64, Case, Fact
from workers.protocol.modelcheck.graphs import Tensor


def _constant(case: Case) -> Fact:
    attributes = dict(case.node.attributes)
    if len(attributes) != 1:
        raise case.refuse("bad_attribute", "one value is wanted")
    key, value = attributes.popitem()
    if isinstance(value, Tensor):
        return Fact(value.dtype, value.shape, value=value.value)
    kinds = {"value_int": (INT64, np.int64), "value_ints": (INT64, np.int64),
             "value_float": (1, np.float32), "value_floats": (1, np.float32)}  # fmt: skip
    if key not in kinds or isinstance(value, str):
        raise case.node.bad(key)
    dtype, kind = kinds[key]
    array = np.array(value, dtype=kind)
    return Fact(dtype, array.shape, value=array)


def _constant_of_shape(case: Case) -> Fact:
    fill = case.node.attributes.get("value")
    if fill is not None and not isinstance(fill, Tensor):
        raise case.node.bad("value")
    return case.result(case.values(0), dtype=fill.dtype if fill else 1, is_exact=True)


def _size(case: Case) -> Fact:
    source = case.fact(0)
    return Fact(INT64, (), value=np.array(source.elements, np.int64) if source.is_exact else None)


def _shape(case: Case) -> Fact:
    source = case.fact(0)
    start = case.node.integer("start", 0)
    end = case.node.integer("end", len(source.shape))
    shape = source.shape[start:end]
    value = np.array(shape, np.int64) if source.is_exact else None
    return Fact(INT64, (len(shape),), value=value)


def _reshape(case: Case) -> Fact:
    source = case.fact(0)
    wanted = case.values(1)
    if case.node.integer("allowzero", 0) == 0:
        for at, size in enumerate(wanted):
            if size == 0 and at >= len(source.shape):
                raise case.refuse("bad_value", "a 0 beyond the dimensions")
            wanted[at] = size or source.shape[at]
    if wanted.count(-1) > 1:
        raise case.refuse("bad_value", "two open dimensions")
    known = math.prod(size for size in wanted if size != -1)
    if -1 in wanted:
        if known <= 0 or (source.is_exact and source.elements % known):
            raise case.refuse("bad_shape", f"{source.shape} to {tuple(wanted)}"[:200])
        wanted[wanted.index(-1)] = source.elements // known
    elif source.is_exact and known != source.elements:
        raise case.refuse("bad_shape", f"{source.shape} to {tuple(wanted)}"[:200])
    return case.result(wanted)


def _flatten(case: Case) -> Fact:
    shape = case.fact(0).shape
    axis = case.node.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise case.refuse("bad_value", f"axis {axis}")
    axis = axis + len(shape) if axis < 0 else axis
    return case.result([math.prod(shape[:axis]), math.prod(shape[axis:])])


def _transpose(case: Case) -> Fact:
    shape = case.fact(0).shape
    order = case.node.integers("perm") or tuple(reversed(range(len(shape))))
    if sorted(order) != list(range(len(shape))):
        raise case.refuse("bad_value", f"order {order}")
    return case.result([shape[at] for at in order])


def _axes(case: Case) -> Sequence[int] | None:
    """Return the axes: an attribute before opset 13, an input since."""
    axes = case.node.integers("axes")
    return case.values(1) if axes is None and case.has(1) else axes


def _squeeze(case: Case) -> Fact:
    source = case.fact(0)
    axes = _axes(case)
    if axes is None:
        if not source.is_exact:
            raise case.refuse("shape_unknown", "the axes are not named")
        axes = [at for at, size in enumerate(source.shape) if size == 1]
    gone = case.axes(axes, len(source.shape))
    if source.is_exact and any(source.shape[at] != 1 for at in gone):
        raise case.refuse("bad_shape", f"axes {gone} of {source.shape}")
    return case.result([size for at, size in enumerate(source.shape) if at not in gone])


def _unsqueeze(case: Case) -> Fact:
    source = case.fact(0)
    axes = _axes(case)
    if axes is None:
        raise case.refuse("bad_attribute", "no axes")
    rank = len(source.shape) + len(axes)
    new = case.axes(axes, rank)
    rest = iter(source.shape)
    return case.result([1 if at in new else next(rest) for at in range(rank)])


def _concat(case: Case) -> Fact:
    facts = [case.fact(at) for at in range(len(case.inputs))]
    if not facts:
        raise case.refuse("bad_shape", "nothing to join")
    rank = len(facts[0].shape)
    axis = case.axis(case.node.integer("axis", 0), rank)
    if any(len(each.shape) != rank for each in facts):
        raise case.refuse("bad_shape", "other numbers of dimensions")
    shape = [max(each.shape[at] for each in facts) for at in range(rank)]
    is_exact = case.all_exact()
    if is_exact and any(
        each.shape[at] != shape[at] for each in facts for at in range(rank) if at != axis
    ):
        raise case.refuse("bad_shape", "sides that do not fit")
    shape[axis] = sum(each.shape[axis] for each in facts)
    return case.result(shape, is_exact=is_exact)


def _split(case: Case) -> list[Fact]:
    source = case.fact(0)
    axis = case.axis(case.node.integer("axis", 0), len(source.shape))
    parts = case.node.integers("split")
    if parts is None and case.has(1):
        parts = tuple(case.values(1))
    side, count = source.shape[axis], len(case.node.outputs)
    if parts is None:
        each = -(-side // max(1, count))
        parts = tuple(max(0, min(each, side - at * each)) for at in range(count))
    if len(parts) != count or (source.is_exact and sum(parts) != side):
        raise case.refuse("bad_shape", f"{side} in parts of {parts}"[:200])
    before, after = source.shape[:axis], source.shape[axis + 1 :]
    return [case.result([*before, size, *after]) for size in parts]


def _slice(case: Case) -> Fact:
    source = case.fact(0)
    starts, ends = case.values(1), case.values(2)
    axes = case.values(3) if case.has(3) else list(range(len(starts)))
    steps = case.values(4) if case.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise case.refuse("bad_value", "starts, ends, axes and steps do not fit")
    shape = list(source.shape)
    places = case.axes(axes, len(shape))
    for start, end, at, step in zip(starts, ends, places, steps, strict=True):
        if source.is_exact:
            shape[at] = len(range(*slice(start, end, step).indices(shape[at])))
            if step < 0 and end < -source.shape[at]:  # ONNX clamps such an end to "before 0"
                shape[at] = len(range(min(start, source.shape[at] - 1), -1, step))
        elif 0 <= start <= end and step > 0:
            shape[at] = min(shape[at], len(range(start, end, step)))
    return case.result(shape)


def _expand(case: Case) -> Fact:
    wanted = case.values(1)
    source = case.fact(0)
    rank = max(len(source.shape), len(wanted))
    own = [1] * (rank - len(source.shape)) + list(source.shape)
    asked = [1] * (rank - len(wanted)) + wanted
    if any(
        1 not in (one, other) and one != other and source.is_exact
        for one, other in zip(own, asked, strict=True)
    ):
        raise case.refuse("bad_shape", f"{source.shape} to {tuple(wanted)}"[:200])
    return case.result(
        [other if one == 1 else (one if other == 1 else max(one, other))
         for one, other in zip(own, asked, strict=True)]
    )  # fmt: skip


def _tile(case: Case) -> Fact:
    shape, repeats = case.fact(0).shape, case.values(1)
    if len(shape) != len(repeats):
        raise case.refuse("bad_shape", f"{repeats} of {shape}"[:200])
    return case.result([size * times for size, times in zip(shape, repeats, strict=True)])


def _pad(case: Case) -> Fact:
    shape = list(case.fact(0).shape)
    pads = case.values(1)
    axes = case.axes(case.values(3) if case.has(3) else range(len(shape)), len(shape))
    if len(pads) != 2 * len(axes):
        raise case.refuse("bad_value", f"{len(pads)} pads for {len(axes)} axes")
    for at, axis in enumerate(axes):
        shape[axis] += pads[at] + pads[len(axes) + at]
    return case.result(shape)


def _range(case: Case) -> Fact:
    start, end, step = (_number(case, at) for at in range(3))
    if not all(map(math.isfinite, (start, end, step))) or step == 0:
        raise case.refuse("bad_value", f"{start} to {end} by {step}")
    return case.result([max(0, math.ceil((end - start) / step))], is_exact=True)


def _number(case: Case, place: int) -> float:
    value = case.fact(place).value
    if value is None or value.size != 1:
        raise case.refuse("shape_unknown", f"input {place} is not known beforehand")
    return float(value.reshape(()))


def _resize(case: Case) -> Fact:
    shape = list(case.fact(0).shape)
    axes = case.axes(case.node.integers("axes") or range(len(shape)), len(shape))
    if case.node.text("mode", "nearest") == "cubic":
        case.work += 16 * case.fact(0).elements
    if case.has(3) and case.fact(3).elements:
        sizes = case.values(3)
        if len(sizes) != len(axes):
            raise case.refuse("bad_value", f"{len(sizes)} sizes")
        # Any policy that keeps the aspect makes no side longer than "stretch" or "not_smaller".
        if case.node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise case.refuse("bad_attribute", "keep_aspect_ratio_policy is not taken")
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
        return case.result(shape)
    scales = case.fact(2).value
    if scales is None or scales.size != len(axes) or not np.isfinite(scales).all():
        raise case.refuse("shape_unknown", "neither sizes nor scales are known beforehand")
    for axis, scale in zip(axes, scales.reshape(-1), strict=True):
        shape[axis] = math.floor(shape[axis] * float(scale))
    return case.result(shape)


def _depth_space(case: Case) -> Fact:
    shape, block = case.fact(0).shape, case.node.integer("blocksize", 0)
    if len(shape) != 4 or block < 1:
        raise case.refuse("bad_shape", f"blocks of {block} in {shape}")
    batch, depth, rows, columns = shape
    if case.node.op == "DepthToSpace":
        return case.result([batch, depth // block**2, rows * block, columns * block])
    return case.result([batch, depth * block**2, rows // block, columns // block])


#: Operator -> its rule; `Split`, with many results, stands beside them.
_SINGLE: Mapping[str, Callable[[Case], Fact]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Concat": _concat,
    "DepthToSpace": _depth_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _depth_space,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def arrangement(case: Case) -> list[Fact]:
    """Return the results of one operator."""
    return _split(case) if case.node.op == "Split" else [_SINGLE[case.node.op](case)]
