"""Each finding holds after real work and fails when its rule is broken by hand."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks import blobs, invariants
from tasks.models import Blob, Chunk, Item, Job, Node, Replica
from tests import factories
from tests.tasks import work


@pytest.fixture
def job(client_user) -> Job:
    """Two pictures: one is decided, one is at work."""
    job = work.start(client_user, factories.make_fleet(2, slots=4), images=2)
    first = [row for row in work.leased(job) if row.chunk.index == 0]
    work.take(*map(work.report_of, first))
    return job


def broken() -> list[str]:
    return [finding.name for finding in invariants.audit() if not finding.holds]


def test_every_finding_holds_after_real_work(job):
    assert [(finding.name, finding.holds) for finding in invariants.audit()] == [
        ("no_chunk_lost", True),
        ("chunk_slots_match", True),
        ("final_items_have_results", True),
        ("provisional_items_have_results", True),
        ("job_counters_match", True),
        ("accepted_are_rewarded", True),
        ("strikes_are_enforced", True),
        ("barred_nodes_believed_nowhere", True),
        ("open_leases_have_nodes", True),
        ("accepted_from_distinct_owners", True),
        ("blobs_present", True),
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
    counts = [finding.detail for finding in invariants.audit() if not finding.holds]
    assert counts == ["3 blobs without a file"]
