"""`portal.access`."""

from __future__ import annotations

import pytest

from portal import access
from tests import factories

NOWHERE = ["", "x", "job_", "job_" + "0" * 26, "job_\0", "JOB_" + "0" * 26, "a" * 500, "job_é"]


@pytest.fixture
def job(client_user):
    return factories.make_job(client_user)


def test_an_owner_finds_their_things(client_user, job):
    item = job.items.get()

    assert access.job(client_user, job.pk) == job
    assert access.dataset(client_user, job.dataset_id) == job.dataset
    assert access.image(client_user, item.image_id) == item.image
    assert access.item(client_user, job.pk, item.pk) == item
    assert access.item(client_user, job.pk, str(item.pk)) == item
    assert access.model(client_user, job.model_id) == job.model


def test_an_operator_finds_their_node(operator):
    node = factories.make_node(operator)

    assert access.node(operator, node.pk) == node
    assert list(access.nodes(operator)) == [node]


def test_a_stranger_finds_nothing(stranger, client_user, operator, job):
    node = factories.make_node(operator)
    item = job.items.get()
    replica = item.chunk.replicas.create(
        job=job,
        node=node,
        operator=operator,
        nonce="0" * 32,
        assigned_at=factories.NOW,
        lease_expires_at=factories.NOW,
        reward_minor=1,
        fee_minor=1,
    )

    for find, *what in [
        (access.job, job.pk),
        (access.dataset, job.dataset_id),
        (access.image, item.image_id),
        (access.item, job.pk, item.pk),
        (access.node, node.pk),
        (access.replica, replica.pk),
    ]:
        with pytest.raises(access.NotFound):
            find(stranger, *what)
    assert access.replica(operator, replica.pk) == replica
    assert not access.jobs(stranger).exists()
    assert not access.datasets(stranger).exists()
    assert not access.nodes(stranger).exists()


def test_an_item_of_another_job_of_ones_own_is_not_found(client_user, job):
    other = factories.make_job(client_user)

    with pytest.raises(access.NotFound):
        access.item(client_user, other.pk, job.items.get().pk)


@pytest.mark.parametrize("text", NOWHERE)
def test_what_is_no_id_never_reaches_the_database(client_user, text, django_assert_num_queries):
    expected = 1 if text == "job_" + "0" * 26 else 0

    with django_assert_num_queries(expected), pytest.raises(access.NotFound):
        access.job(client_user, text)


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "x", "9" * 19, "9" * 40, "\u0661"])
def test_what_is_no_number_never_reaches_the_database(
    client_user, number, django_assert_num_queries
):
    with django_assert_num_queries(0), pytest.raises(access.NotFound):
        access.replica(client_user, number)


def test_a_model_that_is_not_offered_is_not_found(client_user):
    hidden = factories.make_model(is_offered=False)

    with pytest.raises(access.NotFound):
        access.model(client_user, hidden.pk)
