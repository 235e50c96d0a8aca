"""Every gate and every act of staff stands in the manual in its own words."""

from __future__ import annotations

from pathlib import Path

from tasks import reasons
from tasks.operations import gates

MANUAL = Path(reasons.__file__).parents[1] / "docs" / "howto" / "operate-the-platform.md"


def test_every_gate_is_explained_in_its_own_words():
    text = MANUAL.read_text()

    assert [
        gate for gate, words in gates.WORDS.items() if f"| `{gate}` | {words} |" not in text
    ] == []
