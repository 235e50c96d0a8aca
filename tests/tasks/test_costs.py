"""What a job will likely cost, beside what it may cost at most."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import costs, fleet, jobs, requests
from tasks.models import Credibility
from tasks.verification import acceptance
from tests import factories

NOW = factories.NOW
#: Checks after which one answer is enough in the standard tier, in tenths.
KNOWN = 200


@pytest.mark.parametrize(
    ("target_error", "mode", "checks_tenths", "replicas", "believed_share"),
    [
        ("1e-3", "normal", {}, 3, 0),
        ("1e-3", "normal", {0: 5}, 3, 0),
        ("1e-3", "normal", {KNOWN: 4}, 1, 1),
        ("1e-3", "normal", {KNOWN: 3, 0: 1}, 1.5, 0.75),
        ("1e-2", "normal", {0: 1}, 2, 0),
        ("1e-4", "normal", {20_000: 1}, 2, 0),
        ("1e-3", "race", {KNOWN: 4}, 3, 0),
    ],
)
def test_better_known_nodes_need_fewer_answers(
    target_error, mode, checks_tenths, replicas, believed_share
):
    found = costs.expect(target_error=target_error, mode=mode, checks_tenths=checks_tenths)

    assert found == costs.Outlook(replicas=replicas, believed_share=believed_share)


@given(
    target_error=st.sampled_from(sorted(acceptance.TIERS)),
    checks=st.dictionaries(st.integers(0, 30_000), st.integers(1, 50), max_size=6),
    price=st.integers(1, 10**12),
)
def test_the_likely_cost_is_never_more_than_the_price(target_error, checks, price):
    planned = acceptance.planned_replicas(target_error=target_error, mode="normal")
    outlook = costs.expect(target_error=target_error, mode="normal", checks_tenths=checks)

    found = costs.expected_minor(price_minor=price, replicas_planned=planned, outlook=outlook)

    assert 0 < found <= price
    assert 1 <= outlook.replicas <= planned


def test_the_record_of_each_node_online_counts_and_who_is_barred_does_not(
    db, django_assert_num_queries
):
    model, other = factories.make_model(), factories.make_model()
    nodes = factories.make_fleet(5)
    factories.make_fleet(1, last_seen_at=NOW - timedelta(days=1))
    states = Credibility.State
    for node, fields in zip(
        nodes,
        [
            {"checks_tenths": KNOWN, "state": states.TRUSTED},
            {"checks_tenths": 0, "state": states.BANNED},
            {"state": states.QUARANTINED, "barred_until": NOW + timedelta(days=1)},
            {"state": states.QUARANTINED, "barred_until": NOW - timedelta(days=1)},
        ],
        strict=False,
    ):
        Credibility.objects.create(node=node, model=model, **fields)
    Credibility.objects.create(node=nodes[4], model=other, checks_tenths=KNOWN)
    (kept_back,) = factories.make_fleet(1)
    Credibility.objects.create(node=kept_back, model=model, checks_tenths=KNOWN, quarantined_at=NOW)
    factories.make_fleet(1, drained_at=NOW)

    with django_assert_num_queries(2):
        found = costs.records(model_id=model.pk, nodes=fleet.online(now=NOW), now=NOW)

    assert found == {KNOWN: 1, 0: 2}


def test_a_quote_says_what_is_held_and_what_will_likely_be_spent(client_user):
    model = factories.make_model()
    for node in factories.make_fleet(4)[:3]:
        Credibility.objects.create(node=node, model=model, checks_tenths=KNOWN)
    dataset = factories.make_dataset(client_user, images=2)
    request = requests.JobRequest(
        kind="detect", dataset_id=dataset.pk, model_id=model.pk, target_error="1e-3"
    )

    quote = jobs.quote(owner_id=client_user.pk, request=request, now=NOW)

    assert (quote.price_minor, quote.expected_minor) == (330_000, 165_000)
    assert (quote.replicas_planned, quote.replicas_expected) == (6, 3)
    assert quote.believed_share == 0.75
