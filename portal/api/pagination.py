"""Pages of a list by cursor: `{"next", "previous", "results"}`, newest first.

A cursor names the row it continues after, so rows that arrive meanwhile neither shift nor
repeat what follows. It is opaque but not secret: the list it is used on is the caller's own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Field, Model, Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from portal.api import base, fields, limits

Row = TypeVar("Row", bound=Model)
Handler = TypeVar("Handler", bound=Callable[..., Any])


class PageQuery(fields.Query):
    """How much, and from where."""

    limit = serializers.IntegerField(
        min_value=1, max_value=limits.PAGE_ROWS_MAX, default=limits.PAGE_ROWS_DEFAULT
    )
    cursor = serializers.CharField(max_length=limits.CURSOR_LENGTH_MAX, required=False)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """Some rows and the addresses of their neighbours."""

    rows: Sequence[Row]
    next: str | None
    previous: str | None

    def answer(self, results: Any) -> dict[str, Any]:
        """Return the body, with what the rows became as `results`."""
        return {"next": self.next, "previous": self.previous, "results": results}


@dataclass(frozen=True, kw_only=True)
class _Cursor:
    is_backward: bool
    #: The ordering columns of the row it stands beside.
    position: Sequence[Any]


def paginate(request: Request, rows: QuerySet[Row], *, order: Sequence[str] = ("pk",)) -> Page[Row]:
    """Return a page of `rows`, highest first by `order`, whose last column must be unique.

    One query of `limit + 1` rows, with no offset.

    Raises:
        ValidationError: a bad `limit` or `cursor`.
    """
    query = base.read_query(PageQuery, request)
    cursor = _decode(query["cursor"], rows, order) if "cursor" in query else None
    is_backward = cursor is not None and cursor.is_backward
    if cursor is not None:
        rows = rows.filter(_beyond(cursor, order))
    sign = "" if is_backward else "-"
    found = list(rows.order_by(*(f"{sign}{name}" for name in order))[: query["limit"] + 1])
    has_more = len(found) > query["limit"]
    page = found[: query["limit"]]
    if is_backward:
        page.reverse()
    has_next = is_backward or has_more
    has_previous = has_more if is_backward else cursor is not None
    return Page(
        rows=page,
        next=_link(request, page[-1], order, is_backward=False) if page and has_next else None,
        previous=_link(request, page[0], order, is_backward=True)
        if page and has_previous
        else None,
    )


def listing(
    operation_id: str, child: type[serializers.Serializer[Any]]
) -> Callable[[Handler], Handler]:
    """Document a `get` that answers a page of `child`."""
    # drf-spectacular names components by class, so each list needs a class of its own.
    shape: type[serializers.Serializer[Any]] = type(
        "PageOf" + child.__qualname__.replace(".", ""),
        (serializers.Serializer,),
        {
            "next": serializers.CharField(allow_null=True),
            "previous": serializers.CharField(allow_null=True),
            "results": child(many=True),
            "__doc__": "A page of a list, newest first.",
        },
    )
    document: Callable[[Handler], Handler] = extend_schema(
        operation_id=operation_id, parameters=[PageQuery], responses={200: shape}
    )
    return document


def _beyond(cursor: _Cursor, order: Sequence[str]) -> Q:
    """Select what lies past the cursor's row, comparing the columns one after the other."""
    operator = "gt" if cursor.is_backward else "lt"
    beyond, equal = Q(), Q()
    for name, value in zip(order, cursor.position, strict=True):
        beyond |= equal & Q(**{f"{name}__{operator}": value})
        equal &= Q(**{name: value})
    return beyond


def _link(request: Request, row: Model, order: Sequence[str], *, is_backward: bool) -> str:
    values = [getattr(row, name) for name in order]
    position = [v.isoformat() if isinstance(v, datetime) else v for v in values]
    text = json.dumps([is_backward, *position], separators=(",", ":"))
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return replace_query_param(request.build_absolute_uri(), "cursor", cursor)


def _decode(text: str, rows: QuerySet[Row], order: Sequence[str]) -> _Cursor:
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        is_backward, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        position = [_typed(rows, name, value) for name, value in zip(order, values, strict=True)]
    except (ValueError, TypeError, RecursionError, DjangoValidationError) as error:
        raise ValidationError(
            {"cursor": ["This cursor was not made by this list."]}, code="invalid_cursor"
        ) from error
    return _Cursor(is_backward=is_backward is True, position=position)


def _typed(rows: QuerySet[Row], name: str, value: Any) -> Any:
    """Read a value as its column's type, refusing what the column could not hold."""
    meta = rows.model._meta  # noqa: SLF001  # Django documents `_meta` as public
    field = meta.pk if name == "pk" else meta.get_field(name)
    assert isinstance(field, Field)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError("not a value of a column")
    typed = field.clean(value, None)
    if isinstance(typed, str) and not typed.isprintable():
        raise ValueError("not a key")
    return typed
