"""Columns of values as PostgreSQL reads them fastest: one constant, whatever their number.

A driver writes a list as ARRAY['a', 'b', ...]: an expression with as many constants, each of
which the server parses, types and folds before it begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.lookups import In
from django.db.models.sql.compiler import SQLCompiler


def literal(values: Iterable[object]) -> str:
    """Return `values` as the text of an array, for a parameter that the statement casts.

    Takes what columns hold: text, whole numbers, floats, truth values, aware times, None.
    """
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} is not written into arrays")


class AnyOf(In):
    """`in` for many values of the column's own type: `pk__any_of=ids`.

    Elsewhere than on PostgreSQL it is `in` itself.
    """

    lookup_name = "any_of"

    def get_prep_lookup(self) -> list[Any]:
        """Take the values as they are: converting each is most of what `in` costs here."""
        return list(self.rhs)

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        """Return `column = ANY('{...}')`.

        Raises:
            EmptyResultSet: there are no values, so there are no rows.
        """
        if not self.rhs:
            raise EmptyResultSet
        column, parameters = self.process_lhs(compiler, connection)
        kind = self.lhs.output_field.db_type(connection)
        return f"{column} = ANY(%s::{kind}[])", [*parameters, literal(self.rhs)]
