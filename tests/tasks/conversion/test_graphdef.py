from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.conversion import graphdef, limits
from tasks.conversion.graphdef import GraphNode, MalformedGraph
from tests.tasks.conversion import encoding

SAMPLE = (
    encoding.const("weights", np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4))
    + encoding.node("bias", "Const", value=encoding.listed(1, [2], encoding.packed_floats(-1)))
    + encoding.conv("conv", "image", "weights", stride=2)
    + encoding.block(4, b"a function library, skipped")
)


def attribute(value: bytes) -> GraphNode:
    return graphdef.read(encoding.node("n", "Const", value=value))["n"]


def touch(node: GraphNode) -> None:
    """Decode every attribute in every way, whatever it is."""
    for key in node.attributes:
        for decode in (node.integers, node.text, node.floats):
            with contextlib.suppress(MalformedGraph):
                decode(key)


def test_nodes_are_read_in_file_order_with_their_inputs() -> None:
    nodes = graphdef.read(SAMPLE)

    assert list(nodes) == ["weights", "bias", "conv"]
    assert (nodes["conv"].op, nodes["conv"].inputs) == ("Conv2D", ("image", "weights"))


def test_attributes_are_decoded_by_type() -> None:
    nodes = graphdef.read(memoryview(SAMPLE))

    assert nodes["conv"].integers("strides") == (1, 2, 2, 1)
    assert nodes["conv"].text("padding") == "SAME"
    assert nodes["bias"].floats("value").tolist() == [-1.0, -1.0]
    weights = nodes["weights"].floats("value")
    assert weights.dtype == np.float32
    assert weights.tolist() == np.arange(12).reshape(1, 1, 3, 4).tolist()
    assert not weights.flags.writeable


def test_a_short_list_repeats_its_last_value() -> None:
    node = attribute(encoding.listed(1, [2, 2], encoding.packed_floats(1.0, 0.5)))

    assert node.floats("value").tolist() == [[1.0, 0.5], [0.5, 0.5]]


def test_an_empty_list_means_zeros() -> None:
    assert attribute(encoding.listed(1, [3])).floats("value").tolist() == [0.0, 0.0, 0.0]


def test_a_tensor_without_dimensions_is_one_value() -> None:
    single = b"\x2d\x00\x00\x80\x3f"  # field 5 as one unpacked fixed32: 1.0

    assert attribute(encoding.listed(1, [], single)).floats("value").tolist() == 1.0


def test_unpacked_integers_are_read_like_packed_ones() -> None:
    value = encoding.block(1, encoding.number(3, 5) + encoding.number(3, -6))

    assert attribute(value).integers("value") == (5, -6)


def test_the_last_of_two_values_of_an_attribute_counts() -> None:
    node = attribute(encoding.text("first") + encoding.text("second"))

    assert node.text("value") == "second"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (encoding.listed(2, [1]), "tensor of type 2, wanted 1"),
        (encoding.listed(1, [1], encoding.packed_floats(1, 2)), "of 1 elements lists 2"),
        (encoding.listed(1, [2], encoding.block(4, b"abcd")), "of 2 elements carries 1"),
        (encoding.listed(1, [1], encoding.block(4, b"abc")), "end inside an element"),
        (encoding.listed(1, [1], b"\x29abcdefgh"), "FIXED64, not LENGTH"),
        (encoding.listed(1, [-1]), "dimension of unknown size"),
        (encoding.listed(1, [1] * 9), "too many dimensions"),
        (encoding.listed(1, [1 << 40, 1 << 40]), "tensor of 1208925819614629174706176 elements"),
        (encoding.text("SAME"), "'value' of 'n' has another type"),
        (b"", "'value' of 'n' has another type"),
    ],
)
def test_a_tensor_that_does_not_add_up_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(MalformedGraph, match=message):
        attribute(value).floats("value")


def test_a_missing_attribute_is_refused() -> None:
    with pytest.raises(MalformedGraph, match="'n' has no attribute 'strides'"):
        attribute(b"").integers("strides")


def test_a_list_of_too_many_integers_is_refused() -> None:
    node = attribute(encoding.integers(*[0] * (limits.LIST_ELEMENTS_MAX + 1)))

    with pytest.raises(MalformedGraph, match="too many integers"):
        node.integers("value")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoding.number(1, 1), "field 1 is VARINT"),
        (encoding.block(1, b""), "no name or no operation"),
        (encoding.node("a", "Const") * 2, "two nodes are named 'a'"),
        (encoding.node("a", "Add", ["b"] * 1025), "too many inputs"),
        (encoding.node("a", "Add", (), **{f"k{n}": b"" for n in range(65)}), "too many inputs"),
    ],
)
def test_a_graph_of_wrong_build_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedGraph, match=message):
        graphdef.read(data)


def test_too_many_nodes_are_refused() -> None:
    nodes = [encoding.node(str(n), "NoOp") for n in range(limits.GRAPH_NODES_MAX + 1)]

    with pytest.raises(MalformedGraph, match="more than 20000 nodes"):
        graphdef.read(b"".join(nodes))


@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedGraph):
        for node in graphdef.read(data).values():
            touch(node)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    end=st.integers(0, len(SAMPLE)),
)
def test_a_damaged_graph_is_read_or_refused(changes: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(SAMPLE)
    for position, byte in changes:
        damaged[position] = byte

    for data in (bytes(damaged), bytes(damaged[:end])):
        with contextlib.suppress(MalformedGraph):
            for node in graphdef.read(data).values():
                touch(node)


@given(value=st.binary(max_size=120))
def test_an_arbitrary_attribute_is_decoded_or_refused(value: bytes) -> None:
    touch(attribute(value))
    touch(attribute(encoding.block(8, value)))
