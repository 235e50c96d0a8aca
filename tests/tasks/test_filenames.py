"""Names of files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import filenames


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("cat.png", "cat.png"),
        (" a\x00b\nc.png ", "abc.png"),
        ("\u202egpj.exe", "gpj.exe"),
        ("half\ud800.png", "half.png"),
        ("Ünïcode 猫.png", "Ünïcode 猫.png"),
        ("", "unnamed"),
        ("\x00\x07", "unnamed"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("x" * 300, "x" * 255),
        ("a." + "x" * 300, ("a." + "x" * 300)[:255]),
    ],
)
def test_a_name_is_made_fit_to_store(given_name, kept):
    assert filenames.clean(given_name) == kept


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/cat.png", "cat.png"),
        (r"C:\photos\cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("folder/", "unnamed"),
    ],
)
def test_folders_are_left_out_of_a_base_name(path, name):
    assert filenames.base(path) == name


@given(st.text(st.characters(), max_size=600))
def test_any_text_becomes_a_name_that_a_database_stores(text):
    name = filenames.base(text)

    assert 1 <= len(name) <= filenames.LENGTH_MAX
    assert "/" not in name
    assert "\\" not in name
    assert name.encode()
    assert filenames.clean(name) == name
