"""What is written as an array is read by PostgreSQL as the values it was written from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments import arrays
from payments.models import LedgerAccount

TIMES = [
    None,
    datetime(2026, 11, 25, 13, 34, 15, 123456, tzinfo=UTC),
    datetime(2026, 2, 28, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
]
#: PostgreSQL stores no NUL, and no half of a pair.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def read_back(values, kind: str) -> list:
    if connection.vendor != "postgresql":
        pytest.skip("arrays are PostgreSQL's")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [arrays.literal(values)])
        return cursor.fetchone()[0]


@pytest.mark.django_db
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | TEXTS | st.sampled_from(["NULL", "{a,b}", '"', "\\", " "])))
def test_texts_are_read_as_they_are(values):
    assert read_back(values, "text") == values


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", [0, -1, 2**63 - 1, None]),
        ("bool", [True, False, None]),
        ("float8", [0.1, -1e300, 1e-300, None]),
        ("timestamptz", TIMES),
        ("text", []),
    ],
)
def test_other_values_are_read_as_they_are(kind, values):
    assert read_back(values, kind) == values


def test_what_no_column_holds_is_refused():
    with pytest.raises(TypeError, match="bytes"):
        arrays.literal([b"a"])


@pytest.mark.django_db
def test_any_of_finds_what_in_finds():
    made = LedgerAccount.objects.bulk_create(
        [LedgerAccount(code=code, kind="escrow", has_floor=True) for code in ('a"', "b,c", "d\\")]
    )
    ids, codes = [each.pk for each in made], {each.code for each in made[1:]}

    assert set(LedgerAccount.objects.filter(pk__any_of=ids[:2])) == set(made[:2])
    assert set(LedgerAccount.objects.filter(code__any_of=codes)) == set(made[1:])
    assert list(LedgerAccount.objects.filter(pk__any_of=[])) == []
    assert set(LedgerAccount.objects.exclude(pk__any_of=ids[:1])) >= set(made[1:])
