from __future__ import annotations

import pytest

from tasks.conversion import ordering
from tasks.conversion.graphdef import GraphNode
from tasks.conversion.ordering import Unconvertible


def make_graph(**inputs: str) -> dict[str, GraphNode]:
    return {name: GraphNode(name, "Add", tuple(of), {}) for name, of in inputs.items()}


def names(graph: dict[str, GraphNode], *roots: str, known: str = "") -> list[str]:
    return [node.name for node in ordering.sort(graph, roots=roots, known=known)]


def test_every_node_comes_after_its_inputs_and_once() -> None:
    graph = make_graph(a="", b="a", c="a", d="bc")

    assert names(graph, "d", "b") == ["a", "b", "c", "d"]


def test_known_nodes_and_what_lies_behind_them_are_left_out() -> None:
    graph = make_graph(a="", b="a", c="b", d="c")

    assert names(graph, "d", known="b") == ["c", "d"]


def test_a_chain_deeper_than_the_stack_is_sorted() -> None:
    graph = {str(n): GraphNode(str(n), "Add", (str(n - 1),), {}) for n in range(1, 5001)}

    assert names(graph, "5000", known="0") == [str(n) for n in range(1, 5001)]


@pytest.mark.parametrize("inputs", [{"a": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_a_node_that_depends_on_itself_is_refused(inputs: dict[str, str]) -> None:
    with pytest.raises(Unconvertible, match="'a' depends on itself"):
        names(make_graph(**inputs), "a")


def test_a_missing_input_is_refused() -> None:
    with pytest.raises(Unconvertible, match="no node is named 'b'"):
        names(make_graph(a="b"), "a")
