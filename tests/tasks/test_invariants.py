"""Each finding holds after real work and fails when its rule is broken by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from payments.models import TransferIntent
from tasks import blobs, invariants
from tasks.models import Blob, Chunk, Credibility, Item, Job, Node, Replica, Strike
from tests import factories
from tests.tasks import work

HOUR = timedelta(hours=1)


@pytest.fixture
def job(client_user) -> Job:
    """Two pictures: one is decided, one is at work."""
    job = work.start(client_user, factories.make_fleet(2, slots=4), images=2)
    first = [row for row in work.leased(job) if row.chunk.index == 0]
    work.take(*map(work.report_of, first))
    return job


def broken() -> list[str]:
    return [finding.name for finding in invariants.audit(now=factories.NOW) if not finding.holds]


def test_every_finding_holds_after_real_work(job):
    assert [(finding.name, finding.holds) for finding in invariants.audit(now=factories.NOW)] == [
        (name, True)
        for name in (
            "no_chunk_lost",
            "chunk_slots_match",
            "provisional_chunks_settle",
            "questions_are_answered",
            "questioned_are_frozen",
            "open_leases_have_nodes",
            "accepted_from_distinct_owners",
            "accepted_are_rewarded",
            "refused_are_not_rewarded",
            "strikes_are_enforced",
            "strikes_are_counted_once",
            "barred_nodes_were_struck",
            "quarantined_are_doubted",
            "provisional_items_have_results",
            "final_items_have_results",
            "job_counters_match",
            "blobs_present",
        )
    ]


def test_every_finding_holds_with_nothing_there(db):
    assert broken() == []


def test_an_open_chunk_in_an_ended_job_is_lost(job):
    Job.objects.update(state=Job.State.FINISHED)

    assert broken() == ["no_chunk_lost"]


def test_a_place_without_a_replica_is_found(job):
    Chunk.objects.filter(state=Chunk.State.OPEN).update(granted=1)

    assert broken() == ["chunk_slots_match"]


def test_a_final_item_without_a_result_is_found(job):
    Item.objects.filter(state=Item.State.PROVISIONAL).update(detections=None)

    assert broken() == ["provisional_items_have_results"]


@pytest.mark.parametrize(
    "change",
    [{"items_provisional": 2}, {"items_provisional": 0}, {"items_failed": 1}, {"items_total": 3}],
)
def test_a_wrong_counter_is_found(job, change):
    Job.objects.update(**change)

    assert broken() == ["job_counters_match"]


@pytest.mark.parametrize("state", [Node.State.RETIRED, Node.State.SUSPENDED])
def test_a_lease_of_a_removed_node_is_found(job, state):
    Node.objects.filter(pk=work.leased(job)[0].node_id).update(state=state)

    assert broken() == ["open_leases_have_nodes"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"settles_at": factories.NOW - 2 * HOUR}, "provisional_chunks_settle"),
        ({"stirred_at": factories.NOW - 2 * HOUR}, "questions_are_answered"),
        ({"reason": "rechecking"}, "questioned_are_frozen"),
        ({"granted": 1}, "chunk_slots_match"),
    ],
)
def test_an_accepted_chunk_that_is_not_as_it_should_be_is_found(job, changes, name):
    Chunk.objects.filter(state=Chunk.State.PROVISIONAL).update(**changes)

    assert broken() == [name]


def test_accepted_work_without_a_reward_is_found(job):
    replica = job.replicas.filter(state=Replica.State.ACCEPTED).order_by("pk")[0]
    TransferIntent.objects.filter(ref_id=str(replica.pk)).delete()

    assert broken() == ["accepted_are_rewarded"]


def test_refused_work_that_will_be_paid_out_is_found(job):
    replica = job.replicas.filter(state=Replica.State.ACCEPTED).order_by("pk")[0]
    Replica.objects.filter(pk=replica.pk).update(state=Replica.State.REJECTED, reason="disagreed")

    assert broken() == ["refused_are_not_rewarded"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["strikes_are_enforced"]),
        (
            {"enforced_at": factories.NOW, "is_counted": True},
            ["strikes_are_counted_once"],
        ),
    ],
)
def test_a_strike_without_its_consequences_is_found(job, fields, names):
    replica = job.replicas.filter(state=Replica.State.ACCEPTED).order_by("pk")[0]
    Strike.objects.create(
        replica=replica,
        node=replica.node,
        model=job.model,
        cause="gold",
        created_at=factories.NOW - HOUR,
        **fields,
    )

    assert broken() == names


def test_a_node_barred_for_nothing_is_found(job):
    Credibility.objects.update(state=Credibility.State.BANNED)

    assert broken() == ["barred_nodes_were_struck"]


def test_two_accepted_answers_of_one_owner_are_found(job):
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX replica_once_per_owner")
    first = job.replicas.filter(state=Replica.State.ACCEPTED).order_by("pk")[0]
    job.replicas.filter(state=Replica.State.ACCEPTED).update(operator=first.operator)

    assert broken() == ["accepted_from_distinct_owners"]


def test_a_blob_without_its_file_is_found(job, settings, tmp_path):
    assert blobs.exists(Blob.objects.order_by("pk")[0].pk)
    settings.MEDIA_ROOT = tmp_path

    assert broken() == ["blobs_present"]
    counts = [
        finding.detail for finding in invariants.audit(now=factories.NOW) if not finding.holds
    ]
    assert counts == ["3 blobs without a file"]


@pytest.mark.parametrize("for_all", [True, False])
def test_an_answer_believed_in_quarantine_is_found(job, for_all):
    replica = job.replicas.filter(state="accepted").first()
    if for_all:
        Node.objects.filter(pk=replica.node_id).update(quarantined_at=factories.NOW)
    else:
        Credibility.objects.filter(node=replica.node_id, model=job.model_id).update(
            quarantined_at=factories.NOW
        )

    assert broken() == ["quarantined_are_doubted"]
