"""`jobs/{id}/receipt/`: what was signed is what happened."""

from __future__ import annotations

import json

import pytest

from tasks import identity, scheduling
from tasks.models import Replica
from tests import factories
from tests.portal.api import calls
from tests.tasks import work
from workers.protocol import receipts

NOW = factories.NOW


@pytest.fixture
def job(client_user):
    nodes = factories.make_fleet(4)
    job = work.start(client_user, nodes, images=3, target_error="1e-2")
    while leased := work.leased(job):
        work.take(*[work.report_of(replica) for replica in leased])
        scheduling.assign_ready(now=NOW)
    return job


def receipt_of(api, job, query=""):
    response = calls.get(api, f"jobs/{job.pk}/receipt/{query}")
    assert response.status_code == 200
    return json.loads(response.getvalue())


def test_the_receipt_verifies_and_names_every_replica(client_api, job):
    document = receipt_of(client_api, job)

    verified = receipts.verify(document, public_key=identity.platform_public_key())

    assert verified.job == job.pk
    assert verified.chunks == job.chunks.count()
    assert verified.replicas == Replica.objects.filter(job=job).count()
    assert document["receipt"]["model"]["digest"] == job.model.blob_id
    assert document["receipt"]["price"] == "0.0330000"
    assert [len(leaf["images"]) for leaf in document["leaves"]] == [1, 1, 1]


def test_the_receipt_never_names_a_node(client_api, job):
    text = json.dumps(receipt_of(client_api, job))

    for replica in Replica.objects.filter(job=job).select_related("node__owner"):
        assert replica.node_id not in text
        assert replica.node.name not in text
        assert replica.node.owner.email not in text


def test_aliases_tell_nodes_apart_within_a_job_only(client_api, client_user, job):
    first = receipt_of(client_api, job)
    names = {each["node"] for leaf in first["leaves"] for each in leaf["replicas"]}

    assert len(names) == Replica.objects.filter(job=job).values("node").distinct().count()
    other = work.start(client_user, list(factories.make_fleet(2)), target_error="1e-2")
    others = {
        each["node"]
        for leaf in receipt_of(client_api, other)["leaves"]
        for each in leaf["replicas"]
    }
    assert names.isdisjoint(others)


def test_one_chunks_receipt_verifies_alone(client_api, job):
    document = receipt_of(client_api, job, "?chunk=1")

    verified = receipts.verify(document, public_key=identity.platform_public_key())

    assert [leaf["chunk"] for leaf in document["leaves"]] == [1]
    whole = receipts.verify(receipt_of(client_api, job), public_key=identity.platform_public_key())
    assert verified.chunks == 1
    assert whole.chunks == 3


def test_a_chunk_the_job_has_not_is_not_found(client_api, job):
    response = calls.get(client_api, f"jobs/{job.pk}/receipt/?chunk=99")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_chunk")


def test_another_users_receipt_does_not_exist(stranger_api, job):
    assert calls.get(stranger_api, f"jobs/{job.pk}/receipt/").status_code == 404
