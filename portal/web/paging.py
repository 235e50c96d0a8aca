"""Pages of a list by number, without counting the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)

ROWS_PER_PAGE = 25
#: Further back one looks by filter or by CSV; an offset costs what it skips.
PAGES_MAX = 400


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """A few rows of a list and where they stand in it."""

    rows: Sequence[Row]
    number: int
    has_next: bool

    @property
    def next(self) -> int:
        """Number of the page with older rows."""
        return self.number + 1

    @property
    def previous(self) -> int:
        """Number of the page with newer rows."""
        return self.number - 1


def read(rows: QuerySet[Row], request: HttpRequest, *, size: int = ROWS_PER_PAGE) -> Page[Row]:
    """Return the page that `?page=` names; nonsense means the first. One query."""
    text = request.GET.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
    number = min(max(number, 1), PAGES_MAX)
    found = list(rows[(number - 1) * size : number * size + 1])
    return Page(rows=found[:size], number=number, has_next=len(found) > size)
