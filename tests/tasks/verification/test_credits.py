"""What earns trust, and how much."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tasks.models import Credibility, Replica
from tasks.verification import credits
from tests import factories
from tests.tasks import work
from tests.tasks.verification import trust

FOUND = [[list(work.FOUND)], []]


def replica(**fields) -> Replica:
    return Replica(**{"answer": FOUND, **fields})


@pytest.mark.parametrize(
    ("fields", "is_confirmed", "tenths"),
    [
        ({}, False, 0),
        ({}, True, 10),
        ({"answer": [[], []]}, True, 1),
        ({"gold_outcome": "passed"}, False, 10),
        ({"gold_outcome": "passed"}, True, 20),
        ({"gold_outcome": "passed", "answer": [[], []]}, True, 11),
        ({"credited_tenths": 20}, True, 20),
        ({"doubted_at": factories.NOW}, True, 0),
        ({"doubted_at": factories.NOW, "credited_tenths": 10}, True, 10),
    ],
)
def test_agreeing_and_knowing_gold_earn_checks_and_nothing_found_almost_none(
    fields, is_confirmed, tenths
):
    assert credits.earned_tenths(replica(**fields), is_confirmed=is_confirmed) == tenths


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("before", "gained", "after"),
    [
        ("probation", 189, "probation"),
        ("probation", 190, "trusted"),
        ("watched", 190, "trusted"),
        ("quarantined", 190, "quarantined"),
        ("banned", 190, "banned"),
    ],
)
def test_enough_checks_make_a_node_trusted_unless_it_is_barred(before, gained, after):
    (node,), model = factories.make_fleet(1), factories.make_model()
    Credibility.objects.create(node=node, model=model, state=before, checks_tenths=10)

    with transaction.atomic():
        counted = credits.count(
            model_id=model.pk, gained_tenths={node.pk: gained}, answered={node.pk: []}
        )

    known = Credibility.objects.get()
    assert (known.state, known.checks_tenths, known.answers) == (after, 10 + gained, 1)
    assert counted == {node.pk: 1}


@pytest.mark.django_db
def test_each_accepted_answer_has_the_next_number_of_its_node(client_user):
    job = trust.accepted_alone(client_user, factories.make_fleet(1, slots=8), images=3)

    assert sorted(job.replicas.values_list("sequence", flat=True)) == [1, 2, 3]
    assert Credibility.objects.get().answers == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [(200.0, 0.0)]),
        ({"gold_id": 7}, [(150.0, 0.0)]),
        ({"compute_ms": None}, []),
        ({"reported_at": None}, []),
    ],
)
def test_a_node_is_timed_over_all_pictures_it_was_shown(fields, expected):
    row = replica(
        **{
            "assigned_at": factories.NOW,
            "reported_at": factories.NOW + timedelta(seconds=1),
            "compute_ms": 600,
            **fields,
        }
    )

    assert credits.paced(row, items=3) == expected


@pytest.mark.django_db
def test_what_nobody_confirms_earns_no_trust(client_user):
    trust.accepted_alone(client_user, factories.make_fleet(1), checks=50)

    assert Credibility.objects.get().checks_tenths == 500


@pytest.mark.django_db
def test_a_node_without_a_record_gets_one(client_user):
    job = work.start(client_user, factories.make_fleet(2), target_error="1e-2")

    work.take(*(work.report_of(row, answers=work.answers_of(row)) for row in work.leased(job)))

    assert (
        list(Credibility.objects.values_list("checks_tenths", "answers", "state"))
        == [(1, 1, "probation")] * 2
    )
