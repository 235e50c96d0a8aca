"""The one statement that stores reports says the same as the plain way beside it."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks import intake
from tasks.models import Chunk, Credibility, Node, Replica
from tests import factories
from tests.tasks import work

STATES = ["leased", "lost", "reported", "accepted", "failed"]
ANSWERS = [None, [[]], [[[1, 0.5, 1.0, 2.0, 3.0, 4.0]]], [[[17, 0.25]], []]]

entries = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES),
        "was_lost": st.booleans(),
        "chunk_state": st.sampled_from(["open", "open", "provisional", "final"]),
        "answer": st.sampled_from(ANSWERS),
        "gold_answer": st.sampled_from([None, [], [[1, 0.5, 1.0, 2.0, 3.0, 4.0]]]),
        "compute_ms": st.integers(0, 86_400_000),
        "message": st.integers(0, 2),
        "tenths": st.sampled_from([None, 0, 57]),
    }
)

REFUSED = {
    "state": "leased",
    "was_lost": False,
    "chunk_state": "open",
    "answer": None,
    "gold_answer": None,
    "compute_ms": 0,
    "message": 0,
    "tenths": None,
}
LATE = {**REFUSED, "state": "lost", "was_lost": True, "answer": [[]]}


@pytest.fixture
def replicas(client_user) -> list[Replica]:
    """Six replicas of three chunks, two nodes each."""
    nodes = factories.make_fleet(2, slots=3)
    job = work.start(client_user, nodes, images=3)
    return work.leased(job)


def stored(write, replicas, drawn) -> tuple[list[int], dict]:
    """Prepare the rows as drawn, let `write` store them, and return all rows; undo it."""
    with transaction.atomic():
        for replica, fields in zip(replicas, drawn, strict=False):
            Replica.objects.filter(pk=replica.pk).update(state=fields["state"])
            Chunk.objects.filter(pk=replica.chunk_id).update(state=fields["chunk_state"])
            if fields["tenths"] is not None:
                Credibility.objects.update_or_create(
                    node_id=replica.node_id,
                    model_id=replica.job.model_id,
                    defaults={"checks_tenths": fields["tenths"]},
                )
        given_entries = [
            intake.Entry(
                replica_id=replica.pk,
                chunk_id=replica.chunk_id,
                was_lost=fields["was_lost"],
                node_id=replica.node_id,
                model_id=replica.job.model_id,
                answer=fields["answer"],
                gold_answer=fields["gold_answer"],
                reason="" if fields["answer"] is not None else "invalid_answer",
                compute_ms=fields["compute_ms"],
                numeric_class="c",
                proof=intake.Proof(
                    node_id=replica.node_id, body=f"b{fields['message']}", signature="s" * 88
                ),
            )
            for replica, fields in zip(replicas, drawn, strict=False)
        ]
        changed = sorted(write(given_entries, now=work.NOW))
        rows = work.everything()
        del rows["tasks.Credibility"]  # made above, under other ids each time
        rows["tasks.SignedReport"] = sorted(row[1:] for row in rows["tasks.SignedReport"])
        proofs = list(
            Replica.objects.order_by("pk").values_list(
                "pk", "signed_report__body", "signed_report__node"
            )
        )
        columns = [field.attname for field in Replica._meta.concrete_fields]
        place = columns.index("signed_report_id")
        rows["tasks.Replica"] = [(*row[:place], *row[place + 1 :]) for row in rows["tasks.Replica"]]
        transaction.set_rollback(True)
    return changed, {**rows, "proofs": proofs}


@given(drawn=st.lists(entries, max_size=6))
@example(drawn=[REFUSED, REFUSED, LATE, REFUSED])  # a slot is given back and taken in one batch
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_batch_at_once_is_the_batch_row_by_row(replicas, drawn):
    Node.objects.update(last_seen_at=work.NOW)

    assert stored(intake.store, replicas, drawn) == stored(intake.store_plainly, replicas, drawn)


def test_many_reports_cost_as_many_queries_as_one(client_user, replicas):
    def queries(batch) -> int:
        reports = [work.report_of(replica) for replica in batch]
        with CaptureQueriesContext(connection) as context:
            work.accept(*reports)
        return len(context)

    one, five = queries(replicas[:1]), queries(replicas[1:])

    if connection.vendor == "postgresql":
        assert one == five == 12
    assert set(Replica.objects.values_list("state", flat=True)) == {"reported"}
