"""Signatures hold for exactly one key and exactly these bytes."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import signatures

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = signatures.public_text(KEY)
OTHER = signatures.public_text(Ed25519PrivateKey.from_private_bytes(b"o" * 32))


@given(st.binary(max_size=2000))
def test_a_signature_is_verified(body):
    signature = signatures.sign(body, key=KEY)

    assert len(signature) == signatures.SIGNATURE_LENGTH
    signatures.verify(body, signature, public_key=PUBLIC)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_changed_bit_is_noticed(body, data):
    signature = signatures.sign(body, key=KEY)
    place = data.draw(st.integers(0, len(body) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = body[:place] + bytes([body[place] ^ bit]) + body[place + 1 :]

    with pytest.raises(signatures.BadSignature):
        signatures.verify(changed, signature, public_key=PUBLIC)


def test_another_key_is_noticed():
    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"x", signatures.sign(b"x", key=KEY), public_key=OTHER)


def test_a_signature_without_our_domain_is_void():
    bare = base64.b64encode(KEY.sign(b"x")).decode()

    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"x", bare, public_key=PUBLIC)


@given(
    st.one_of(
        st.none(),
        st.integers(),
        st.binary(),
        st.text(),
        st.lists(st.text()),
        st.text(min_size=88, max_size=88),
        st.from_regex(r"[A-Za-z0-9+/]{86}==", fullmatch=True),
    )
)
def test_no_other_value_passes_for_a_signature(value):
    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"x", value, public_key=PUBLIC)


def test_public_keys_are_read_again():
    raw = signatures.load_public(PUBLIC).public_bytes_raw()

    assert base64.b64encode(raw).decode() == PUBLIC
    assert len(PUBLIC) == 44


@pytest.mark.parametrize("text", ["", "x", "ü" * 44, PUBLIC[:-4], PUBLIC + "AAAA", PUBLIC + "\n"])
def test_other_texts_are_no_public_keys(text):
    with pytest.raises(signatures.BadKey):
        signatures.load_public(text)
