from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.conversion import encoding
from workers.protocol import wire


def read_all(data: bytes) -> list[wire.Field]:
    return list(wire.fields(memoryview(data)))


@given(value=st.integers(-(2**63), 2**63 - 1))
def test_a_signed_integer_survives_the_wire(value: int) -> None:
    (field,) = read_all(encoding.number(1, value))

    assert field.signed() == value


@given(body=st.binary(max_size=300), number=st.integers(1, wire.FIELD_NUMBER_MAX))
def test_a_block_of_bytes_survives_the_wire(body: bytes, number: int) -> None:
    (field,) = read_all(encoding.block(number, body))

    assert (field.number, field.kind, bytes(field.body())) == (number, wire.Kind.LENGTH, body)


def test_fixed_fields_carry_their_four_and_eight_bytes() -> None:
    four, eight = read_all(b"\x0dabcd\x11abcdefgh")

    assert (four.kind, bytes(four.raw())) == (wire.Kind.FIXED32, b"abcd")
    assert (eight.kind, bytes(eight.raw())) == (wire.Kind.FIXED64, b"abcdefgh")


def test_a_packed_list_yields_its_integers() -> None:
    assert list(wire.varints(memoryview(b"\x00\x01\x80\x01"))) == [0, 1, 128]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80", "varint at byte 0"),
        (b"\x08\xff\xff", "varint at byte 1"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "varint at byte 1"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "varint at byte 1"),
        (b"\x0a\x05abcd", "field 1 of 5 bytes ends after its message"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "field 1 of 18446744073709551615 bytes"),
        (b"\x0dabc", "field 1 of 4 bytes ends after its message"),
        (b"\x11abcdefg", "field 2 of 8 bytes ends after its message"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0f", "unknown wire type 7"),
        (b"\x00\x00", "field number 0"),
        (encoding.varint(1 << 32) + b"\x00", "field number 536870912"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(wire.MalformedGraph, match=message):
        read_all(data)


def test_a_field_is_refused_as_another_kind() -> None:
    integer, block = read_all(encoding.number(1, 7) + encoding.block(2, b"x"))

    with pytest.raises(wire.MalformedGraph, match="field 1 is VARINT, not LENGTH"):
        integer.body()
    with pytest.raises(wire.MalformedGraph, match="field 1 is a VARINT"):
        integer.raw()
    with pytest.raises(wire.MalformedGraph, match="field 2 is LENGTH, not VARINT"):
        block.unsigned()


def test_text_must_be_short_and_utf8() -> None:
    broken, long = read_all(
        encoding.block(1, b"\xff") + encoding.block(2, b"x" * (wire.TEXT_BYTES_MAX + 1))
    )

    with pytest.raises(wire.MalformedGraph, match="not UTF-8"):
        broken.text()
    with pytest.raises(wire.MalformedGraph, match="text of 4097 bytes"):
        long.text()


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read_all(data)
    except wire.MalformedGraph:
        return

    assert sum(len(f.value) for f in found if isinstance(f.value, memoryview)) <= len(data)
