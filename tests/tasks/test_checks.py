"""What was bought and what was done: counted from the rows."""

from __future__ import annotations

import pytest

from tasks import checks
from tasks.models import Chunk, Job, Replica
from tests import factories

NOW = factories.NOW


@pytest.fixture
def job(client_user):
    return factories.make_job(client_user, images=3, target_error="1e-3")


def accept(chunk, nodes, *, by_referee=False):
    """Write down that these nodes' answers were accepted."""
    Chunk.objects.filter(pk=chunk.pk).update(
        state="provisional", referee_answer=[[]] if by_referee else None
    )
    Replica.objects.bulk_create(
        [
            Replica(
                chunk=chunk, job=chunk.job, node=node, operator_id=node.owner_id, nonce="0" * 32,
                state="accepted", assigned_at=NOW, lease_expires_at=NOW,
                reward_minor=1, fee_minor=0,
            )
            for node in nodes
        ]
    )  # fmt: skip


def test_a_new_job_has_no_checks_and_no_estimate(job):
    found = checks.of_job(job, now=NOW)

    assert (found.epsilon, found.by_one, found.by_several, found.by_referee) == (1e-3, 0, 0, 0)
    assert (found.job_error, found.model_error) == (None, None)


def test_chunks_count_by_whose_word_was_taken(job):
    first, second, third = job.chunks.order_by("pk")
    nodes = factories.make_fleet(2)
    accept(first, nodes[:1])
    accept(second, nodes)
    accept(third, nodes, by_referee=True)

    found = checks.of_job(job, now=NOW)

    assert (found.by_one, found.by_several, found.by_referee) == (1, 1, 1)
    assert found.nodes == 2


def test_the_error_is_estimated_from_audits_of_the_job_and_of_the_model(client_user, job):
    other = factories.make_job(client_user, model=job.model_id)
    Job.objects.filter(pk=job.pk).update(audits=20, audits_failed=1)
    Job.objects.filter(pk=other.pk).update(audits=80, audits_failed=4)
    job.refresh_from_db()

    found = checks.of_job(job, now=NOW)

    assert (found.job_error.rate, found.model_error.rate) == (0.05, 0.05)
    assert found.model_error.upper < found.job_error.upper


def test_the_estimate_of_another_model_is_its_own(client_user, job):
    other = factories.make_job(client_user)
    Job.objects.filter(pk=other.pk).update(audits=80, audits_failed=4)

    assert checks.of_job(job, now=NOW).model_error is None


def test_it_takes_five_queries_however_many_chunks(job, django_assert_num_queries):
    with django_assert_num_queries(5):
        checks.of_job(job, now=NOW)
