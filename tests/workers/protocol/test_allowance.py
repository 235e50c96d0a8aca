"""Limits combine to the stricter; a schedule knows its days and midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers.protocol.allowance import Allowance, combine, is_in_window, is_window

#: 23 November 2026 is a Monday.
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)

allowances = st.builds(
    Allowance,
    cores=st.none() | st.integers(1, 32),
    memory_mib=st.none() | st.integers(256, 9999),
    memory_free_mib=st.none() | st.integers(1, 9999),
    cache_mib=st.none() | st.integers(64, 9999),
    bandwidth_kib=st.none() | st.integers(16, 9999),
    metered=st.booleans(),
    battery=st.booleans(),
    only_when_idle=st.booleans(),
    celsius=st.none() | st.integers(30, 110),
    schedule=st.lists(st.sampled_from(["mon-fri 18:00-07:00", "sat 00:00-24:00"]), max_size=2),
    kinds=st.lists(st.sampled_from(["detect", "classify", "train"]), unique=True, max_size=3),
    client_categories=st.lists(
        st.sampled_from(["research", "education", "commercial"]), unique=True, max_size=3
    ),
    exclusive_programs=st.lists(st.sampled_from(["steam", "blender"]), unique=True, max_size=2),
)
moments = st.integers(0, 365 * 24 * 60).map(lambda minutes: MONDAY + timedelta(minutes=minutes))


@given(file=allowances, page=allowances, moment=moments)
def test_the_page_never_loosens_what_the_file_allows(file, page, moment):
    alone, both = combine(file), combine(file, page)

    for name in ("cores", "memory_mib", "cache_mib", "bandwidth_kib", "celsius"):
        limit = getattr(alone, name)
        assert limit is None or getattr(both, name) <= limit
    assert (both.memory_free_mib or 0) >= (alone.memory_free_mib or 0)
    assert not both.metered or alone.metered
    assert not both.battery or alone.battery
    assert both.only_when_idle or not alone.only_when_idle
    assert not both.is_open(moment) or alone.is_open(moment)
    assert all(alone.takes(kind) or not both.takes(kind) for kind in ("detect", "classify"))
    assert all(
        alone.serves(each) or not both.serves(each)
        for each in ("research", "commercial", "undeclared")
    )
    assert set(both.exclusive_programs) >= set(alone.exclusive_programs)


@given(file=allowances)
def test_a_page_without_wishes_changes_nothing(file):
    assert combine(file, Allowance()) == combine(file)


def test_kinds_without_a_common_one_leave_none():
    both = combine(Allowance(kinds=["detect"]), Allowance(kinds=["train"]))

    assert both.kinds == []
    assert not both.takes("detect")


def test_clients_without_a_common_category_leave_none():
    both = combine(
        Allowance(client_categories=["research"]), Allowance(client_categories=["commercial"])
    )

    assert both.client_categories == []
    assert not both.serves("research")


def test_undeclared_clients_are_served_only_where_no_category_is_named():
    assert combine(Allowance()).serves("undeclared")
    assert not combine(Allowance(client_categories=["research"])).serves("undeclared")


@pytest.mark.parametrize(
    ("window", "day", "hour", "minute", "expected"),
    [
        ("mon 08:00-17:00", 0, 8, 0, True),
        ("mon 08:00-17:00", 0, 17, 0, False),
        ("mon 08:00-17:00", 1, 9, 0, False),
        ("mon-fri 18:00-07:00", 0, 23, 0, True),
        ("mon-fri 18:00-07:00", 5, 6, 59, True),
        ("mon-fri 18:00-07:00", 5, 7, 0, False),
        ("mon-fri 18:00-07:00", 0, 6, 0, False),
        ("sat-mon 00:00-24:00", 6, 12, 0, True),
        ("sat-mon 00:00-24:00", 0, 23, 59, True),
        ("sat-mon 00:00-24:00", 1, 0, 0, False),
    ],
)
def test_a_window_knows_its_days_and_goes_past_midnight(window, day, hour, minute, expected):
    moment = MONDAY.replace(day=23 + day, hour=hour, minute=minute)

    assert is_in_window(window, moment) is expected


@pytest.mark.parametrize("text", ["mon", "mon 8:00-17:00", "mon 08:00-25:00", "xyz 08:00-09:00"])
def test_what_is_no_window_is_refused(text):
    assert not is_window(text)
    with pytest.raises(ValidationError):
        Allowance(schedule=[text])


@pytest.mark.parametrize(
    "change",
    [
        {"cores": 0}, {"cores": True}, {"cores": "2"}, {"bandwidth_kib": 1}, {"celsius": 5},
        {"kinds": ["mine"]}, {"client_categories": ["undeclared"]}, {"exclusive_programs": ["a b"]}, {"gpu": True},
    ],
)  # fmt: skip
def test_impossible_limits_are_refused(change):
    with pytest.raises(ValidationError):
        Allowance(**change)
