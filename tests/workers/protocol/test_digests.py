"""Digests are SHA-256 in lower-case hex."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import digests

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_of_nothing_is_the_published_one():
    assert digests.digest(b"") == EMPTY


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_a_stream_has_the_digest_of_its_whole(chunks):
    assert digests.digest_stream(chunks) == digests.digest(b"".join(chunks))


def test_a_digest_is_known_by_its_form():
    assert digests.is_digest(EMPTY)


@pytest.mark.parametrize("text", ["", EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY + "\n", "../x"])
def test_other_texts_are_no_digests(text):
    assert not digests.is_digest(text)
