"""The FlatBuffers reader and the classifier's conversion, on the real file and on damaged ones."""

from __future__ import annotations

import struct

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.conversion import classifier, efficientnet, flatbuffer, pinned, tflite
from tasks.conversion.ordering import Unconvertible
from workers.protocol.wire import MalformedGraph

FEW = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def source() -> bytes:
    return pinned.locate(file=classifier.FILE).read_bytes()


@pytest.fixture(scope="module")
def graph(source):
    return tflite.read(source)


@pytest.fixture(scope="module")
def converted(graph):
    return efficientnet.convert(graph)


def test_the_file_is_read_as_it_is(graph):
    assert (len(graph.tensors), len(graph.operators)) == (246, 96)
    entry = graph.tensors[graph.input]
    assert (entry.shape, entry.kind, entry.zero_points) == ((1, 280, 280, 3), np.uint8, (130,))
    assert entry.scales == (pytest.approx(0.012667336),)
    assert graph.tensors[graph.output].shape == (1, 1000)


def test_the_model_is_valid_quantised_and_without_clips(converted):
    onnx.checker.check_model(converted, full_check=True)

    ops = [node.op_type for node in converted.graph.node]
    assert {op: ops.count(op) for op in ("Conv", "Gemm", "Add", "Softmax", "Clip")} == {
        "Conv": 73,
        "Gemm": 1,
        "Add": 17,
        "Softmax": 1,
        "Clip": 0,
    }
    assert ops.count("QuantizeLinear") == 73 + 17 + 1 + 1


def test_the_same_file_gives_the_same_bytes(graph, converted):
    again = efficientnet.convert(graph)

    assert again.SerializeToString(deterministic=True) == converted.SerializeToString(
        deterministic=True
    )


def test_the_padding_is_tensorflows():
    assert efficientnet._padding(280, 2, 3) == (0, 1)
    assert efficientnet._padding(9, 1, 5) == (2, 2)


@pytest.mark.parametrize(
    ("code", "zero", "scale"), [(3, 10, 0.02), (3, -128, 0.03), (1, -128, 0.0235)]
)
def test_an_activation_that_the_integers_do_not_imply_is_refused(code, zero, scale):
    result = tflite.Tensor((1,), np.int8, (scale,), (zero,), None)

    with pytest.raises(Unconvertible):
        efficientnet._check_activation(code, result)


def test_labels_are_distinct_and_short():
    labels = classifier.labels()

    assert len(set(labels.values())) == 1000
    assert (labels[0], labels[134], labels[517]) == ("tench", "crane (134)", "crane (517)")


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\xff\xff\xff\xff", struct.pack("<I", 100)])
def test_what_is_no_flatbuffer_is_refused(data):
    with pytest.raises(MalformedGraph):
        tflite.read(data)


def test_a_vector_that_ends_after_the_file_is_refused():
    # A table at 8 whose field 0 is a vector of 2**31 bytes.
    data = struct.pack("<IHHHHiII", 12, 8, 8, 4, 0, 8, 4, 2**31)

    with pytest.raises(MalformedGraph, match="after the file"):
        flatbuffer.root(data).raw(0)


@given(edits=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 255)), min_size=1))
@FEW
def test_damaged_files_are_read_or_refused(edits):
    source = pinned.locate(file=classifier.FILE).read_bytes()
    damaged = bytearray(source)
    for place, value in edits:
        damaged[-1 - place] = value

    try:
        efficientnet.convert(tflite.read(bytes(damaged)))
    except (MalformedGraph, Unconvertible):
        return
