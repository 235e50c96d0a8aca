"""Each word for how a node's work ended: brought about for real, read by its operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from tasks import appeals, jobs, leases, nodes, scheduling
from tasks.models import Chunk, Node, Replica
from tasks.reasons import ReplicaReason
from tasks.verification import acceptance
from tests import factories
from tests.portal.api import calls
from tests.tasks import refusals, work
from tests.tasks.verification import trust

NOW = work.NOW
AFTER = NOW + scheduling.LEASE + timedelta(seconds=1)


def out(client, fleet: Sequence[Node], **fields) -> Replica:
    """Return the lease of the first node; the second has the chunk as well."""
    return work.start(client, fleet[:2], **fields).replicas.get(node=fleet[0])


def lease_expired(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    leases.expire(now=AFTER)
    return replica


def disagreed(client, fleet, staff) -> Replica:
    return refusals.unheard(client, fleet[:5])


def wrong(client, fleet, staff) -> Replica:
    return refusals.refused(client, fleet[:3])


def overturned(client, fleet, staff) -> Replica:
    job = trust.accepted_alone(client, fleet, images=2)
    caught, other = job.replicas.order_by("pk")
    trust.catch(caught)
    scheduling.assign_ready(now=NOW)
    work.take(*(work.report_of(row, work.ELSEWHERE) for row in work.leased(job)))
    return other


def gold_failed(client, fleet, staff) -> Replica:
    model = factories.make_model()
    refusals.make_gold(model)
    replica = out(client, fleet, model=model.pk)
    sizes = {replica.gold_position: (60, 44)}
    answers = [
        work.messages.Answer(
            position=each.position,
            width=sizes.get(each.position, (64, 48))[0],
            height=sizes.get(each.position, (64, 48))[1],
            detections=[work.ELSEWHERE],
        )
        for each in work.assignment_of(replica, now=NOW).inputs
    ]
    work.take(work.report_of(replica, answers=answers))
    return replica


def invalid_answer(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    work.take(work.report_of(replica, answers=[]))
    return replica


def job_cancelled(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    jobs.cancel(job_id=replica.job_id, now=NOW)
    return replica


def not_needed(client, fleet, staff) -> Replica:
    """Others failed on the chunk, the referee as well: nobody waits for the last one."""
    mine = out(client, fleet)
    job = mine.job
    factories.announce(job, nodes=fleet[2:])
    for _ in range(acceptance.ERRORS_MAX):
        other = next(row for row in reversed(work.leased(job)) if row.pk != mine.pk)
        work.take(work.report_of(other, status="failed", reason="model_died", answers=[]))
        scheduling.assign_ready(now=NOW)
    work.referee_says(Chunk.objects.get(pk=mine.chunk_id), error="model_died")
    return mine


def node_removed(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    nodes.suspend(node_id=fleet[0].pk, now=NOW)
    return replica


def handed_back(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    work.take(work.report_of(replica, status="handed_back", reason="battery", answers=[]))
    return replica


def appeal_upheld(client, fleet, staff) -> Replica:
    replica = refusals.refused(client, fleet[:3])
    appeal = appeals.lodge(replica_id=replica.pk, operator_id=replica.operator_id, text="", now=NOW)
    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)
    return replica


def node_error(client, fleet, staff) -> Replica:
    replica = out(client, fleet)
    work.take(work.report_of(replica, status="failed", reason="out_of_memory", answers=[]))
    return replica


ENDS: dict[ReplicaReason, Callable[..., Replica]] = {
    reason: globals()[reason.value] for reason in ReplicaReason
}
SAID = {ReplicaReason.HANDED_BACK: "battery", ReplicaReason.NODE_ERROR: "out_of_memory"}


@pytest.mark.parametrize("reason", ReplicaReason, ids=str)
def test_the_operator_reads_how_the_work_ended(operator_api, operator, client_user, staff, reason):
    mine = factories.make_node(operator, slots=4)
    replica = ENDS[reason](client_user, [mine, *factories.make_fleet(5, slots=4)], staff)

    rows = calls.get(operator_api, f"nodes/{mine.pk}/replicas/").json()["results"]

    (shown,) = [row for row in rows if row["id"] == str(replica.pk)]
    assert (shown["reason"], shown["reason_text"]) == (reason.value, reason.label)
    assert shown["node_said"] == SAID.get(reason, "")
    assert work.unsound() == []
