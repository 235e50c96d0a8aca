"""Sizes and work of convolutions, pools and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from workers.protocol.modelcheck import elementwise
from workers.protocol.modelcheck.facts import Case, Fact


def _conv(case: Case) -> Fact:
    return _convolution(case, case.fact(0), case.fact(1), case.fact(0).dtype)


def _quantised_conv(case: Case) -> Fact:
    return _convolution(case, case.fact(0), case.fact(3), case.fact(7).dtype)


def _matmul(case: Case) -> Fact:
    return _product(case, case.fact(0), case.fact(1), case.fact(0).dtype)


def _quantised_matmul(case: Case) -> Fact:
    return _product(case, case.fact(0), case.fact(3), case.fact(7).dtype)


def _global_pool(case: Case) -> Fact:
    source = case.fact(0)
    case.work += source.elements
    return case.result([*source.shape[:2], *(1 for _ in source.shape[2:])])


def _convolution(case: Case, source: Fact, kernel: Fact, dtype: int) -> Fact:
    spatial = _spatial(case, source, kernel)
    groups = case.node.integer("group", 1)
    if groups < 1 or kernel.shape[1] * groups != source.shape[1] or kernel.shape[0] % groups:
        raise case.refuse("bad_shape", f"{kernel.shape} in {groups} groups on {source.shape}")
    sides = _windows(case, source.shape[2:], kernel.shape[2:])
    shape = [source.shape[0], kernel.shape[0], *sides]
    case.work += math.prod(shape) * kernel.shape[1] * math.prod(spatial)
    return case.result(shape, dtype=dtype, is_exact=source.is_exact and kernel.is_exact)


def _transposed(case: Case) -> Fact:
    source, kernel = case.fact(0), case.fact(1)
    spatial = _spatial(case, source, kernel)
    groups = case.node.integer("group", 1)
    if groups < 1 or kernel.shape[0] != source.shape[1]:
        raise case.refuse("bad_shape", f"{kernel.shape} on {source.shape}")
    rank = len(spatial)
    strides = _numbers(case, "strides", 1, rank)
    dilations = _numbers(case, "dilations", 1, rank)
    extra = _numbers(case, "output_padding", 0, rank)
    pads = _numbers(case, "pads", 0, 2 * rank)
    sides = list(case.node.integers("output_shape") or ())
    if not sides and case.node.text("auto_pad", "NOTSET").startswith("SAME"):
        sides = [side * step for side, step in zip(source.shape[2:], strides, strict=True)]
    if not sides:
        sides = [
            strides[at] * (source.shape[2 + at] - 1) + extra[at]
            + (spatial[at] - 1) * dilations[at] + 1 - pads[at] - pads[rank + at]
            for at in range(rank)
        ]  # fmt: skip
    if len(sides) != rank:
        raise case.refuse("bad_shape", f"output_shape {sides}")
    case.work += source.elements * kernel.shape[1] * math.prod(spatial)
    return case.result([source.shape[0], kernel.shape[1] * groups, *sides])


def _pool(case: Case) -> list[Fact]:
    source = case.fact(0)
    window = case.node.integers("kernel_shape")
    if window is None or len(source.shape) != len(window) + 2 or min(window) < 1:
        raise case.refuse("bad_shape", f"window {window} on {source.shape}")
    sides = _windows(case, source.shape[2:], window)
    shape = [*source.shape[:2], *sides]
    case.work += math.prod(shape) * math.prod(window)
    return [case.result(shape), *(case.result(shape, dtype=7) for _ in case.node.outputs[1:])]


def _spatial(case: Case, source: Fact, kernel: Fact) -> tuple[int, ...]:
    given = case.node.integers("kernel_shape")
    spatial = kernel.shape[2:]
    if len(source.shape) != len(kernel.shape) or len(source.shape) < 3:
        raise case.refuse("bad_shape", f"{kernel.shape} on {source.shape}")
    if given is not None and given != spatial:
        raise case.refuse("bad_shape", f"kernel_shape {given}, weights {kernel.shape}")
    return spatial


def _windows(case: Case, sides: Sequence[int], window: Sequence[int]) -> list[int]:
    """Return how many places a window has on each side."""
    rank = len(sides)
    strides = _numbers(case, "strides", 1, rank)
    dilations = _numbers(case, "dilations", 1, rank)
    pads = _numbers(case, "pads", 0, 2 * rank)
    automatic = case.node.text("auto_pad", "NOTSET")
    is_up = case.node.integer("ceil_mode", 0) != 0
    found = []
    for at, side in enumerate(sides):
        reach = dilations[at] * (window[at] - 1) + 1
        if automatic.startswith("SAME"):
            found.append(-(-side // strides[at]))
            continue
        padded = side + (pads[at] + pads[rank + at] if automatic == "NOTSET" else 0)
        free = padded - reach
        found.append((-(-free // strides[at]) if is_up else free // strides[at]) + 1)
    return found


def _numbers(case: Case, key: str, default: int, count: int) -> tuple[int, ...]:
    values = case.node.integers(key)
    if values is None:
        return (default,) * count
    if len(values) != count or min(values, default=default) < (key in {"strides", "dilations"}):
        raise case.refuse("bad_attribute", f"{key} {values}")
    return values


def _product(case: Case, left: Fact, right: Fact, dtype: int) -> Fact:
    one, other = list(left.shape), list(right.shape)
    if not one or not other:
        raise case.refuse("bad_shape", "a product of single numbers")
    rows = one if len(one) > 1 else [1, *one]
    columns = other if len(other) > 1 else [*other, 1]
    is_exact = left.is_exact and right.is_exact
    if rows[-1] != columns[-2] and is_exact:
        raise case.refuse("bad_shape", f"{left.shape} times {right.shape}")
    batch = elementwise.common_shape(case, [rows[:-2], columns[:-2], []])
    case.work += math.prod(batch) * rows[-2] * columns[-1] * max(rows[-1], columns[-2])
    tail = ([rows[-2]] if len(one) > 1 else []) + ([columns[-1]] if len(other) > 1 else [])
    return case.result([*batch, *tail], dtype=dtype, is_exact=is_exact)


def _gemm(case: Case) -> Fact:
    left, right = case.fact(0).shape, case.fact(1).shape
    if len(left) != 2 or len(right) != 2:
        raise case.refuse("bad_shape", f"{left} times {right}")
    rows, inner = reversed(left) if case.node.integer("transA", 0) else left
    other, columns = reversed(right) if case.node.integer("transB", 0) else right
    if inner != other and case.all_exact():
        raise case.refuse("bad_shape", f"{left} times {right}")
    case.work += rows * columns * max(inner, other)
    return case.result([rows, columns], is_exact=case.all_exact())


def _grid_sample(case: Case) -> Fact:
    source, grid = case.fact(0), case.fact(1)
    if len(source.shape) != len(grid.shape) or len(source.shape) < 4:
        raise case.refuse("bad_shape", f"{grid.shape} on {source.shape}")
    shape = [*source.shape[:2], *grid.shape[1:-1]]
    case.work += 16 * math.prod(shape)
    return case.result(shape, is_exact=case.all_exact())


_SINGLE: Mapping[str, Callable[[Case], Fact]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "GridSample": _grid_sample,
    "MatMul": _matmul,
    "QLinearConv": _quantised_conv,
    "QLinearMatMul": _quantised_matmul,
}


def layer(case: Case) -> list[Fact]:
    """Return the results of one layer; pools may also say where they looked."""
    is_pool = case.node.op in {"MaxPool", "AveragePool"}
    return _pool(case) if is_pool else [_SINGLE[case.node.op](case)]
