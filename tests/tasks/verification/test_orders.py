"""The same facts lead to the same rows, in whatever order they came and however often asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from payments.models import TransferIntent
from tasks import scheduling
from tasks.models import Chunk, Credibility, Item, Replica, Strike
from tasks.verification import faults, strikes, verdicts
from tests import factories
from tests.tasks import work

pytestmark = [pytest.mark.django_db, pytest.mark.lots]
NOW = factories.NOW
NODES = 6
#: Two that are the same and two that are not.
SEEN = [(1, score, x, 5.0, 10.0, 10.0) for score, x in ((0.9, 5), (0.903, 5), (0.9, 20), (0.9, 40))]
FEW_EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def leased(client_user):
    """One chunk that six nodes have, some of them with a record."""
    nodes = factories.make_fleet(NODES)
    model = factories.make_model()
    for node, checks in zip(nodes, (0, 5, 25, 120), strict=False):
        Credibility.objects.create(node=node, model=model, checks_tenths=10 * checks)
    job = factories.make_job(client_user, model=model.pk, target_error="1e-3")
    factories.announce(job, nodes=nodes)
    Chunk.objects.update(wanted=NODES, purpose="recheck")
    while scheduling.assign_ready(now=NOW):
        Chunk.objects.update(wanted=NODES)
    assert len(work.leased(job)) == NODES
    return work.leased(job)


def outcome() -> dict:
    """Return what matters of the rows, without the times."""
    return {
        "replicas": list(
            Replica.objects.order_by("pk").values_list(
                "pk", "state", "reason", "credited_tenths", "is_canonical"
            )
        ),
        "items": list(Item.objects.order_by("pk").values_list("state", "detections")),
        "chunk": Chunk.objects.values_list("state", "reason", "granted", "wanted").get(),
        "checks": sorted(Credibility.objects.values_list("node", "checks_tenths", "state")),
        "strikes": sorted(Strike.objects.values_list("replica", "cause", "is_counted")),
        "paid": sorted(
            TransferIntent.objects.values_list("key", "amount_minor", "frozen_at", "voided_at")
        ),
    }


def decide(leased, seen, order, caught, referee) -> dict:
    """Store all answers in this order, then decide; then the node is caught; then the referee."""
    chunk_id = leased[0].chunk_id
    with transaction.atomic():
        for place, index in enumerate(order):
            report = work.report_of(leased[index], SEEN[seen[index]])
            work.accept(report, now=NOW + timedelta(seconds=place))
        _decide_twice(chunk_id)
        replica = leased[caught]
        faults.record(
            replicas=[replica],
            model_id=replica.job.model_id,
            cause=Strike.Cause.GOLD,
            now=NOW + timedelta(minutes=1),
        )
        strikes.enforce(now=NOW + timedelta(minutes=1))
        _decide_twice(chunk_id)
        if Chunk.objects.filter(pk=chunk_id, referee_asked_at__isnull=False).exists():
            work.referee_says(Chunk.objects.get(pk=chunk_id), SEEN[referee], now=NOW)
        _decide_twice(chunk_id)
        assert work.unsound() == []
        found = outcome()
        transaction.set_rollback(True)
    return found


def _decide_twice(chunk_id: int) -> None:
    verdicts.advance(chunk_id=chunk_id, now=NOW + timedelta(minutes=1))
    before = work.everything()
    verdicts.advance(chunk_id=chunk_id, now=NOW + timedelta(minutes=1))
    assert work.everything() == before


@given(
    seen=st.lists(st.integers(0, 3), min_size=NODES, max_size=NODES),
    order=st.permutations(range(NODES)),
    caught=st.integers(0, NODES - 1),
    referee=st.integers(0, 3),
)
@FEW_EXAMPLES
def test_the_order_of_arrival_decides_nothing(leased, seen, order, caught, referee):
    first = decide(leased, seen, range(NODES), caught, referee)
    second = decide(leased, seen, order, caught, referee)

    canonical = {seen[row[0] - leased[0].pk] for row in first["replicas"] if row[4]}
    assert len(canonical) <= 1
    for found in (first, second):  # of equal answers either may stand for the group
        found["replicas"] = [row[:4] for row in found["replicas"]]
    assert second == first
