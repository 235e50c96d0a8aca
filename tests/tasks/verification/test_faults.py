"""Wrong answers are written down once, and their authors kept apart."""

from __future__ import annotations

import pytest
from django.db import transaction

from tasks.models import Apart, Strike
from tasks.verification import faults
from tests import factories
from tests.tasks import work

pytestmark = pytest.mark.django_db


@pytest.fixture
def replicas(client_user):
    job = work.start(client_user, factories.make_fleet(4), target_error="1e-4")
    return work.leased(job)


def test_a_replica_has_one_strike_however_often_it_is_found(replicas, now):
    model_id = replicas[0].job.model_id
    with transaction.atomic():
        for cause in ("gold", "referee"):
            faults.record(replicas=replicas[:2], model_id=model_id, cause=cause, now=now)

    assert sorted(Strike.objects.values_list("replica", "cause", "enforced_at")) == sorted(
        (replica.pk, "gold", None) for replica in replicas[:2]
    )


def test_each_pair_of_a_group_is_kept_apart_once(replicas, now):
    owners = sorted(replica.operator_id for replica in replicas)
    group = sorted(replicas, key=lambda row: -row.operator_id)[1:]
    with transaction.atomic():
        for _ in range(2):
            faults.keep_apart(groups=[group, replicas[:1]], chunk=replicas[0].chunk, now=now)

    first, second, third, _ = owners
    assert sorted(Apart.objects.values_list("first", "second")) == [
        (first, second),
        (first, third),
        (second, third),
    ]
