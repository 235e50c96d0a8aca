"""How large each tensor of a model can get, and how much work one picture is.

An abstract run of the graph: shapes instead of numbers, and values only where they become
shapes. Nothing that depends on the picture's content may decide a size, so what is found
for a picture's size holds for every picture of that size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workers.protocol.modelcheck import (
    arrangements,
    elementwise,
    layers,
    limits,
    operators,
    selections,
    values,
)
from workers.protocol.modelcheck.facts import Case, Fact
from workers.protocol.modelcheck.graphs import Graph, Node
from workers.protocol.modelcheck.refusals import Refused


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one run needs at most."""

    tensors: Mapping[str, Fact]
    largest_bytes: int
    total_bytes: int
    work: int


def bound(graph: Graph, inputs: Mapping[str, Fact]) -> Bounds:
    """Bound a run in which `inputs` are fed.

    Inputs that are not named are left open, and what depends on them is left out: with
    none named this bounds what a runtime computes when it opens the model.

    Raises:
        Refused: a bound is broken, or shapes do not fit.
    """
    known: dict[str, Fact | None] = {
        name: Fact(each.dtype, each.shape, value=each.value) for name, each in graph.weights.items()
    }
    known |= {name: inputs.get(name) for name in graph.inputs}
    largest = total = work = 0
    for node in graph.nodes:
        case = _case(graph, node, known)
        if case is None:
            known |= dict.fromkeys(node.outputs)
            continue
        for name, fact in zip(node.outputs, _results(case), strict=False):
            known[name] = fact
            largest, total = max(largest, fact.size_bytes), total + fact.size_bytes
            _check_memory(node, name, fact.size_bytes, total)
            work += fact.elements
        for name in node.outputs:
            if name and name not in known:
                raise case.refuse("bad_shape", f"nothing is known of its output {name!r}")
        work += case.work
        if work > limits.WORK_MAX:
            raise case.refuse("work_too_large", f"more than {limits.WORK_MAX:.0e}")
    tensors = {name: fact for name, fact in known.items() if fact is not None}
    return Bounds(tensors=tensors, largest_bytes=largest, total_bytes=total, work=work)


def bound_opening(graph: Graph) -> Bounds:
    """Bound what a runtime computes when it opens the model: all that no picture decides.

    Raises:
        Refused.
    """
    fixed = {}
    for name, end in graph.inputs.items():
        sides = [size for size in end.shape or (None,) if size is not None]
        if end.shape is not None and len(sides) == len(end.shape):
            fixed[name] = Fact(end.dtype, tuple(sides))
    return bound(graph, fixed)


def _case(graph: Graph, node: Node, known: Mapping[str, Fact | None]) -> Case | None:
    """Return the operator with its inputs, or None when one of them is left open."""
    facts = [known[name] if name else None for name in node.inputs]
    if any(name and fact is None for name, fact in zip(node.inputs, facts, strict=True)):
        return None
    return Case(node, facts, graph.opset)


def _results(case: Case) -> list[Fact]:
    try:
        with np.errstate(all="ignore"):
            return [values.follow(case, fact) for fact in _rule(case)]
    except (ValueError, IndexError, OverflowError, TypeError, ZeroDivisionError) as exc:
        # Shapes no rule expects; a runtime would refuse them, too.
        raise case.refuse("bad_shape", f"{type(exc).__name__}: {exc}"[:200]) from exc


def _rule(case: Case) -> list[Fact]:
    op = case.node.op
    if op in operators.UNARY:
        return elementwise.unary(case)
    if op in operators.BROADCAST:
        return elementwise.broadcast(case)
    if op in operators.REDUCTIONS:
        return elementwise.reduction(case)
    if op in operators.LAYERS:
        return layers.layer(case)
    if op in operators.SELECTIONS:
        return selections.selection(case)
    return arrangements.arrangement(case)


def _check_memory(node: Node, name: str, size_bytes: int, total: int) -> None:
    if size_bytes > limits.TENSOR_BYTES_MAX:
        raise Refused("tensor_too_large", f"{node.op} makes {size_bytes} bytes", tensor=name)
    if total > limits.TENSORS_BYTES_MAX:
        raise Refused("memory_too_large", f"{total} bytes up to {node.op}", tensor=name)
