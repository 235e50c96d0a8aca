"""Put the nodes of a graph into an order in which they can be converted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tasks.conversion.graphdef import GraphNode


class Unconvertible(ValueError):
    """The graph holds something this converter does not know how to express."""


def sort(
    graph: Mapping[str, GraphNode], *, roots: Iterable[str], known: Collection[str]
) -> list[GraphNode]:
    """Return what `roots` depend on, every node after its inputs, the roots included.

    Nodes named in `known` are given from outside: they and what lies behind them is left
    out. The order depends only on the graph, so conversions are repeatable. Walks without
    recursion: the detector is deeper than Python's stack allows for.

    Raises:
        Unconvertible: an input is missing from the graph, or a node depends on itself.
    """
    ordered: list[GraphNode] = []
    finished = set(known)
    open_names: set[str] = set()
    stack = [(root, False) for root in roots]
    while stack:
        name, inputs_are_done = stack.pop()
        if name in finished:
            continue
        node = get(graph, name)
        if inputs_are_done:
            open_names.remove(name)
            finished.add(name)
            ordered.append(node)
            continue
        if name in open_names:
            raise Unconvertible(f"node {name!r} depends on itself")
        open_names.add(name)
        stack.append((name, True))
        stack.extend((source, False) for source in node.inputs)
    return ordered


def get(graph: Mapping[str, GraphNode], name: str) -> GraphNode:
    """Return the node, or raise Unconvertible when the graph has none of that name."""
    try:
        return graph[name]
    except KeyError as exc:
        raise Unconvertible(f"no node is named {name!r}") from exc
