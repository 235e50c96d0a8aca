"""What an operator lets a node use: one shape for the file on the machine and for the page.

Two of them always combine to the stricter, so the page can take away and never add.
A value of None, an empty list, or the permissive truth value limits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, time
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from workers.protocol import limits

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(DAYS)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"
WINDOW_PATTERN = rf"^(?:{_DAY})(?:-(?:{_DAY}))? {_TIME}-(?:{_TIME}|24:00)$"
#: Windows a schedule may have, and programs that may be named.
WINDOWS_MAX = 28
PROGRAMS_MAX = 32
#: The kernel keeps this much of a program's name.
PROGRAM_LENGTH_MAX = 15

Window = Annotated[str, StringConstraints(pattern=WINDOW_PATTERN)]
Program = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._+:-]+$", max_length=PROGRAM_LENGTH_MAX)
]
Kind = Literal["detect", "classify", "train"]
#: What a client's account is for, in the client's own word, which staff may correct.
ClientCategory = Literal[
    "research", "education", "nonprofit", "government", "commercial", "personal"
]
#: The category of a client who has not said what the account is for.
UNDECLARED: Literal["undeclared"] = "undeclared"
Declared = ClientCategory | Literal["undeclared"]
Word = TypeVar("Word", bound=str)
Schedule = Annotated[list[Window], Field(max_length=WINDOWS_MAX)]


class Allowance(BaseModel):
    """Limits of one source, the file or the page. Without arguments nothing is limited."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    #: Pieces of work at one time; each computes on one core.
    cores: Annotated[int, Field(ge=1, le=limits.SLOTS_MAX)] | None = None
    #: Most memory the node itself may hold before it rests.
    memory_mib: Annotated[int, Field(ge=256, le=2**20)] | None = None
    #: Memory to be left free for everybody else.
    memory_free_mib: Annotated[int, Field(ge=1, le=2**20)] | None = None
    #: Disk for downloaded models.
    cache_mib: Annotated[int, Field(ge=64, le=2**20)] | None = None
    #: Download speed, KiB per second.
    bandwidth_kib: Annotated[int, Field(ge=16, le=2**20)] | None = None
    #: May it work while the network is metered?
    metered: bool = True
    #: May it work on battery?
    battery: bool = True
    #: Only while nobody uses the computer?
    only_when_idle: bool = False
    #: Hottest sensor, degrees Celsius.
    celsius: Annotated[int, Field(ge=30, le=110)] | None = None
    #: When it may work, local time: "mon-fri 18:00-07:00". Empty: always.
    schedule: Schedule = []
    #: Kinds of work it takes. Empty: all.
    kinds: Annotated[list[Kind], Field(max_length=8)] = []
    #: Categories of clients it works for. Empty: all, undeclared ones too.
    client_categories: Annotated[list[ClientCategory], Field(max_length=8)] = []
    #: It rests while one of these programs runs.
    exclusive_programs: Annotated[list[Program], Field(max_length=PROGRAMS_MAX)] = []


class Effective(BaseModel):
    """What holds now: the stricter of every source."""

    model_config = ConfigDict(frozen=True)

    cores: int | None
    memory_mib: int | None
    memory_free_mib: int | None
    cache_mib: int | None
    bandwidth_kib: int | None
    metered: bool
    battery: bool
    only_when_idle: bool
    celsius: int | None
    #: Each of these must be open; two schedules have no simpler common form.
    schedules: list[list[str]]
    #: None: all kinds. May be empty when the sources have no kind in common.
    kinds: list[Kind] | None
    #: None: all clients. May be empty as well.
    client_categories: list[ClientCategory] | None
    exclusive_programs: list[str]

    def takes(self, kind: str) -> bool:
        """Say whether work of this kind is wanted."""
        return self.kinds is None or kind in self.kinds

    def serves(self, category: str) -> bool:
        """Say whether work for clients of this category is wanted."""
        return self.client_categories is None or category in self.client_categories

    def is_open(self, local: datetime) -> bool:
        """Say whether every schedule is open at this local time."""
        return all(
            any(is_in_window(window, local) for window in schedule) for schedule in self.schedules
        )


def combine(*sources: Allowance) -> Effective:
    """Return the stricter of all sources, value by value."""
    return Effective(
        cores=_least(source.cores for source in sources),
        memory_mib=_least(source.memory_mib for source in sources),
        memory_free_mib=max(
            (each for source in sources if (each := source.memory_free_mib) is not None),
            default=None,
        ),
        cache_mib=_least(source.cache_mib for source in sources),
        bandwidth_kib=_least(source.bandwidth_kib for source in sources),
        metered=all(source.metered for source in sources),
        battery=all(source.battery for source in sources),
        only_when_idle=any(source.only_when_idle for source in sources),
        celsius=_least(source.celsius for source in sources),
        schedules=[source.schedule for source in sources if source.schedule],
        kinds=common(source.kinds for source in sources),
        client_categories=common(source.client_categories for source in sources),
        exclusive_programs=sorted({each for one in sources for each in one.exclusive_programs}),
    )


def common(lists: Iterable[Sequence[Word]]) -> list[Word] | None:
    """Return what all allow lists have in common, sorted; an empty list allows everything.

    None when none of them limits anything.
    """
    limiting = [set(each) for each in lists if each]
    return sorted(set.intersection(*limiting)) if limiting else None


def describe(allowance: Allowance) -> list[tuple[str, str]]:
    """Return each limit that is set, with its value in words."""
    found = allowance.model_dump(exclude_defaults=True)
    return [(name, _words(value)) for name, value in found.items()]


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def is_in_window(window: str, local: datetime) -> bool:
    """Say whether a local time is inside a window such as "fri-sun 22:00-06:00".

    A window that ends before it begins goes on into the next day.
    """
    days, _, hours = window.partition(" ")
    first, _, last = days.partition("-")
    start_text, _, end_text = hours.partition("-")
    start, end = _minutes(start_text), _minutes(end_text)
    now = local.hour * 60 + local.minute
    today = _is_day(local.weekday(), first, last or first)
    if start < end:
        return today and start <= now < end
    yesterday = _is_day((local.weekday() - 1) % 7, first, last or first)
    return (today and now >= start) or (yesterday and now < end)


def is_window(text: str) -> bool:
    """Say whether the text is a window of a schedule."""
    return re.fullmatch(WINDOW_PATTERN, text) is not None


def _is_day(weekday: int, first: str, last: str) -> bool:
    start, end = DAYS.index(first), DAYS.index(last)
    return start <= weekday <= end if start <= end else weekday >= start or weekday <= end


def _minutes(text: str) -> int:
    if text == "24:00":
        return 24 * 60
    moment = time.fromisoformat(text)
    return moment.hour * 60 + moment.minute


def _least(values: Iterable[int | None]) -> int | None:
    return min((each for each in values if each is not None), default=None)
