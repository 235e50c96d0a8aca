"""The names that strangers give their files, made fit to store and to show."""

from __future__ import annotations

import re
import unicodedata

#: Characters, as `Image.name` holds.
LENGTH_MAX = 255
#: Characters of an ending (".jpeg") that are kept when a name is shortened.
ENDING_LENGTH_MAX = 16
UNNAMED = "unnamed"

_SEPARATOR = re.compile(r"[/\\]")


def visible(text: str) -> str:
    """Return `text` without invisible characters and outer spaces.

    Control characters, half surrogate pairs and direction marks go: no database stores all
    of them, and a direction mark shows "exe.jpg" as "gpj.exe".
    """
    return "".join(
        character for character in text if not unicodedata.category(character).startswith("C")
    ).strip()


def clean(text: str) -> str:
    """Return `text` visible, at most `LENGTH_MAX` characters, never empty."""
    return _shorten(visible(text)) or UNNAMED


def base(path: str) -> str:
    """Return the cleaned name after the last slash or backslash."""
    return clean(_SEPARATOR.split(path)[-1])


def _shorten(name: str) -> str:
    if len(name) <= LENGTH_MAX:
        return name
    _, dot, ending = name.rpartition(".")
    kept = f"{dot}{ending}" if len(ending) < ENDING_LENGTH_MAX else ""
    return name[: LENGTH_MAX - len(kept)] + kept
