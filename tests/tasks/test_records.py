"""A node's record, model by model."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import records
from tasks.models import Credibility
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def node():
    return factories.make_fleet(1)[0]


def test_each_model_has_its_own_record_by_name(node, now):
    for name, tenths in (("Zebra", 0), ("Ape", 205)):
        Credibility.objects.create(
            node=node, model=factories.make_model(name=name, slug=name), checks_tenths=tenths
        )

    (found,) = records.of_nodes([node.pk], now=now).values()

    assert [(row.model_name, row.checks) for row in found] == [("Ape", 20.5), ("Zebra", 0.0)]
    assert [row.credibility for row in found] == [pytest.approx(0.99906, abs=1e-5), 0.95]
    assert [row.doubt for row in found] == [1 - row.credibility for row in found]


@pytest.mark.parametrize(("days", "state"), [(1, "quarantined"), (-1, "watched")])
def test_quarantine_ends(node, now, days, state):
    until = now + timedelta(days=days)
    Credibility.objects.create(
        node=node, model=factories.make_model(), state="quarantined", barred_until=until, strikes=2
    )

    (row,) = records.of_nodes([node.pk], now=now)[node.pk]

    assert (row.state, row.strikes) == (state, 2)
    assert row.barred_until == (until if days > 0 else None)


@pytest.mark.parametrize(
    ("image_ms", "shown", "in_time"),
    [(None, None, None), (120.04, 120.0, 83), (25_000.0, 25_000.0, 1)],
)
def test_its_pace_is_told_with_what_it_means_for_chunks(node, now, image_ms, shown, in_time):
    Credibility.objects.create(node=node, model=factories.make_model(), image_ms=image_ms)

    (row,) = records.of_nodes([node.pk], now=now)[node.pk]

    assert (row.image_ms, row.images_in_time) == (shown, in_time)


def test_who_has_none_is_not_there(node, now):
    assert records.of_nodes([node.pk], now=now) == {}
