"""Typed readers of environment variables, for `portal.settings` only."""

from __future__ import annotations

import os
from pathlib import Path


class MissingSetting(Exception):
    """A setting that production needs is not in the environment."""


def text(name: str, default: str) -> str:
    """Read a string; a `NAME_FILE` variable names a file that holds it (secrets)."""
    if file_name := os.environ.get(f"{name}_FILE"):
        return Path(file_name).read_text(encoding="utf-8").strip()
    return os.environ.get(name) or default


def flag(name: str, *, default: bool) -> bool:
    """Read a boolean: 1/true/yes/on or 0/false/no/off, in any case."""
    raw = os.environ.get(name, "").strip().lower()
    if raw == "":
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise MissingSetting(f"{name}={raw!r} is neither true nor false.")


def integer(name: str, default: int) -> int:
    """Read a whole number."""
    raw = os.environ.get(name, "").strip()
    return int(raw) if raw else default


def words(name: str, default: list[str]) -> list[str]:
    """Read a comma-separated list."""
    raw = os.environ.get(name, "")
    return [word.strip() for word in raw.split(",") if word.strip()] or default
