"""The operator's word on disk: limits in `limits.toml`, the page's settings beside it.

The file is the operator's own and is read anew when it changes. The page's settings come
signed by the platform and are kept in a file of their own; the stricter of both holds.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers import config
from workers.config import Home
from workers.protocol import limits
from workers.protocol.allowance import Allowance, Effective, combine

FILE_BYTES_MAX = 64 * limits.KIB
#: Holds while there is no file: a laptop is not drained before anybody was asked.
DEFAULT = Allowance(battery=False)

_HEAD = """\
# What this node may use. Lines that start with # limit nothing; the page of the node can
# make every one of these stricter, never looser. Read again within seconds when changed.
"""
#: Key -> (explanation, example shown while it is not set).
_KEYS = {
    "cores": ("pieces of work at one time, one core each", "2"),
    "memory_mib": ("most memory the node itself may hold", "2048"),
    "memory_free_mib": ("memory left free for everything else", "1024"),
    "cache_mib": ("disk for downloaded models", "4096"),
    "bandwidth_kib": ("download speed, KiB per second", "2048"),
    "metered": ("work while the network is metered (modem, tethering)?", "true"),
    "battery": ("work on battery?", "true"),
    "only_when_idle": ("only while nobody uses the computer?", "false"),
    "celsius": ("rest while the processor is hotter", "85"),
    "schedule": ("when it may work, local time; none: always", '["mon-fri 18:00-07:00"]'),
    "kinds": ("kinds of work it takes; none: all", '["detect"]'),
    "client_categories": (
        "clients it works for; none: all, also those who do not say what they are",
        '["research", "education", "nonprofit"]',
    ),
    "exclusive_programs": ("rest while one of these runs", '["steam", "blender"]'),
}


class BadLimits(Exception):
    """limits.toml cannot be understood; the sentence names the line or the key."""


class PageSettings(BaseModel):
    """What the page asked for last."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    revision: int = Field(default=0, ge=0)
    is_paused: bool = False
    wishes: Allowance = Allowance()


def read_limits(home: Home) -> Allowance:
    """Return what the file allows; the default when there is none.

    Raises:
        BadLimits: it is not what it should be. Nothing of it is believed then.
    """
    try:
        with home.limits_file.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode()
    except FileNotFoundError:
        return DEFAULT
    except (OSError, UnicodeDecodeError) as exc:
        raise BadLimits(f"{home.limits_file} cannot be read: {exc}.") from exc
    try:
        return parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        raise BadLimits(f"{home.limits_file} is no TOML: {exc}.") from exc
    except BadLimits as exc:
        raise BadLimits(f"{home.limits_file}: {exc}") from exc


def parse(values: dict[str, Any]) -> Allowance:
    """Return the limits in `values`.

    Raises:
        BadLimits: an unknown key or an impossible value.
    """
    try:
        # Through JSON, so that lists are what the strict schema expects.
        return Allowance.model_validate_json(json.dumps(values, default=str))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadLimits(f"{key}: {first['msg']}.") from exc


def write_limits(home: Home, allowance: Allowance) -> None:
    """Replace the file, every key explained."""
    config.write_atomically(home.limits_file, _render(allowance).encode())


def change(allowance: Allowance, assignment: str) -> Allowance:
    """Return the limits with one `key=value` changed; `key=none` takes a limit away.

    Raises:
        BadLimits: an unknown key or an impossible value.
    """
    key, separator, text = (part.strip() for part in assignment.partition("="))
    if key not in _KEYS or not separator:
        raise BadLimits(f"{assignment}: say key=value with one of {', '.join(_KEYS)}.")
    values = allowance.model_dump(mode="json", exclude_defaults=True)
    values.pop(key, None)
    if text.lower() not in {"none", ""}:
        values[key] = _value(key, text)
    return parse(values)


def read_settings(home: Home) -> PageSettings:
    """Return what the page asked for last; nothing when that file is missing or damaged.

    Damage loses only wishes, which the platform sends again; never the operator's limits.
    """
    try:
        with home.settings_file.open("rb") as file:
            return PageSettings.model_validate_json(file.read(FILE_BYTES_MAX))
    except (OSError, ValidationError):
        return PageSettings()


def write_settings(home: Home, settings: PageSettings) -> None:
    """Keep what the page asked for across restarts."""
    config.write_atomically(home.settings_file, settings.model_dump_json(indent=2).encode())


def effective(allowance: Allowance, settings: PageSettings) -> Effective:
    """Return what holds: never more than the file allows."""
    return combine(allowance, settings.wishes)


def describe(allowance: Allowance | Effective) -> list[tuple[str, str]]:
    """Return each limit with its value in words, for a terminal."""
    values = allowance.model_dump(mode="json")
    values["schedule"] = values.get("schedule", values.pop("schedules", None))
    return [(key, _words(values.get(key))) for key in _KEYS]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        parts = [", ".join(each) if isinstance(each, list) else str(each) for each in value]
        return (
            " and also ".join(parts)
            if any(isinstance(e, list) for e in value)
            else (", ".join(parts) or "none")
        )
    return "none" if value is None else str(value)


def _value(key: str, text: str) -> Any:
    """Read a value as typed in a shell: a list by commas, true or false, a number, a word."""
    if isinstance(getattr(Allowance(), key), list):
        return [part.strip() for part in text.split(",")]
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return int(text) if text.isascii() and text.isdecimal() else text


def _render(allowance: Allowance) -> str:
    values = allowance.model_dump(mode="json", exclude_defaults=True)
    lines = [_HEAD]
    for key, (explanation, example) in _KEYS.items():
        lines.append(f"# {explanation}")
        # JSON's texts, numbers, truth values and flat lists are TOML's as well.
        is_set = key in values
        lines.append(f"{key} = {json.dumps(values[key])}" if is_set else f"#{key} = {example}")
        lines.append("")
    return "\n".join(lines)
