"""Tensors through the wall: what was written is read, what was not written is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workers.room import tensors
from workers.room.tensors import TensorSpec

SPEC = TensorSpec(name="t", dtypes=("float32", "int8"), shape=(None, 4), bytes_max=64)
ANY = st.sampled_from(sorted(tensors.CODES)).flatmap(
    lambda name: arrays.arrays(
        np.dtype(name),
        arrays.array_shapes(min_dims=0, max_dims=tensors.RANK_MAX, min_side=0, max_side=3),
    )
)


@given(ANY, st.integers(0, 255))
def test_a_tensor_is_read_as_it_was_written(array, place):
    said, dtype, shape = tensors.read_header(tensors.header(place, array))
    copy, raw = tensors.empty(dtype, shape)
    raw[:] = tensors.bytes_of(array)

    assert (said, copy.dtype, copy.shape) == (place, array.dtype, array.shape)
    assert copy.tobytes() == array.tobytes()


@given(st.binary(min_size=tensors.HEADER.size, max_size=tensors.HEADER.size))
def test_any_header_is_read_or_refused(data):
    try:
        _, dtype, shape = tensors.read_header(data)
    except tensors.Mismatch:
        return
    assert dtype.name in tensors.CODES
    assert len(shape) <= tensors.RANK_MAX


def test_rows_of_another_order_are_sent_in_ours():
    array = np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3))

    assert bytes(tensors.bytes_of(array)) == np.arange(6, dtype=np.int32).tobytes()


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U3", "datetime64[s]", "object"])
def test_other_types_do_not_pass(dtype):
    with pytest.raises(tensors.Mismatch):
        tensors.header(0, np.zeros(2, dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "shape", "complaint"),
    [
        ("float64", (1, 4), "type of t"),
        ("float32", (4,), "rank of t"),
        ("float32", (1, 3), "shape of t"),
        ("float32", (5, 4), "size of t"),
        ("int8", (2**62, 4), "size of t"),
    ],
)
def test_what_was_not_declared_is_named(dtype, shape, complaint):
    with pytest.raises(tensors.Mismatch, match=complaint):
        SPEC.check(dtype=np.dtype(dtype), shape=shape)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (4, 4)), ("int8", (16, 4)), ("int8", (0, 4))]
)
def test_what_was_declared_passes(dtype, shape):
    SPEC.check(dtype=np.dtype(dtype), shape=shape)


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "x" * 201}, {"shape": (1,) * 9}, {"dtypes": ()}, {"dtypes": ("bool",)}],
)
def test_a_declaration_out_of_bounds_is_refused(change):
    fields = {"name": "t", "dtypes": ("uint8",), "shape": (1,), "bytes_max": 1}

    with pytest.raises(ValueError, match="A tensor's"):
        TensorSpec(**(fields | change))
