"""Steps of a job for tests: start it, answer for a node, look at everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import transaction

from payments import invariants as money
from portal.models import User
from tasks import assignments, invariants, reports, scheduling
from tasks.models import Chunk, Job, Node, Replica
from tasks.verification import acceptance, gold, strikes, verdicts
from tests import factories
from workers.protocol import messages

NOW = factories.NOW
#: A person; `ELSEWHERE` is one that does not agree with it.
FOUND = (1, 0.9, 10.0, 10.0, 20.0, 20.0)
ELSEWHERE = (1, 0.9, 30.0, 10.0, 20.0, 20.0)
#: `FOUND` in other digits: it does not agree, but lies within the loose tolerances.
NEARLY = (1, 0.88, 10.0, 10.0, 20.0, 20.0)


def start(owner: User, nodes: Sequence[Node], *, now: datetime = NOW, **fields: Any) -> Job:
    """Submit a job of one image that all `nodes` have acknowledged, and schedule it."""
    job = factories.make_job(owner, now=now, **fields)
    factories.announce(job, nodes=nodes, now=now)
    scheduling.assign_ready(now=now)
    job.refresh_from_db()
    return job


def leased(job: Job) -> list[Replica]:
    """Return what is out, in the order of assignment."""
    return list(job.replicas.filter(state=Replica.State.LEASED).order_by("pk"))


def assignment_of(replica: Replica, *, now: datetime = NOW) -> messages.Assignment:
    """Return the message that starts it."""
    return assignments.build(Replica.objects.filter(pk=replica.pk), now=now)[0]


def report_of(replica: Replica, *found: Sequence[float], **fields: Any) -> messages.Report:
    """Return the node's report that it saw `found` (`FOUND` if nothing is given) on each image."""
    defaults = {
        "sent_at": NOW,
        "node": replica.node_id,
        "assignment": str(replica.pk),
        "nonce": replica.nonce,
        "model_digest": replica.job.model.blob_id,
        "status": "done",
        "answers": answers_of(replica, *(found or (FOUND,))),
        "compute_ms": 120,
    }
    return messages.Report(**{**defaults, **fields})


def answers_of(replica: Replica, *found: Sequence[float]) -> list[messages.Answer]:
    """Return one answer for each image of the chunk."""
    return [
        messages.Answer(position=position, width=64, height=48, detections=[*found])
        for position in range(replica.chunk.items_count)
    ]


def take(*sent: messages.Report, now: datetime = NOW) -> list[acceptance.Decision | None]:
    """Store reports in one batch, then decide; return what was decided for each chunk."""
    chunk_ids = accept(*sent, now=now)
    decisions = [verdicts.advance(chunk_id=chunk_id, now=now) for chunk_id in chunk_ids]
    strikes.enforce(now=now)
    return decisions


def accept(*sent: messages.Report, now: datetime = NOW) -> list[int]:
    """Store reports in one batch and decide nothing; return the chunks that changed."""
    signed = [
        reports.SignedReport(report=report, body=report.model_dump_json(), signature="s" * 88)
        for report in sent
    ]
    with transaction.atomic():
        chunk_ids = reports.accept(signed, now=now)
        gold.score(chunk_ids, now=now)
    return chunk_ids


def referee_says(
    chunk: Chunk, *found: Sequence[float], error: str = "", now: datetime = NOW
) -> acceptance.Decision | None:
    """Let the referee answer as `tasks.referee.run` does: `found` on each image, or an error."""
    answer = None if error else [[list(each) for each in found]] * chunk.items_count
    asked = Chunk.objects.filter(pk=chunk.pk, referee_asked_at__isnull=False, referee_at=None)
    assert asked.update(referee_at=now, referee_answer=answer, referee_error=error) == 1
    decision = verdicts.advance(chunk_id=chunk.pk, now=now)
    strikes.enforce(now=now)
    return decision


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of our own tables, to show that nothing changed."""
    return {
        model._meta.label: list(model._base_manager.order_by("pk").values_list())
        for label in ("portal", "tasks", "payments")
        for model in apps.get_app_config(label).get_models()
    }


def unsound(now: datetime = NOW) -> list[str]:
    """Return the names of the invariants of money and work that do not hold."""
    return [check.name for check in money.audit(now=now) if not check.ok] + [
        finding.name for finding in invariants.audit(now=now) if not finding.holds
    ]


def fail_alike(owner: User) -> Job:
    """Start a job on which the nodes of three owners fail in the same way, eight times each."""
    nodes = factories.make_fleet(3, slots=32)
    job = start(owner, nodes, images=12, target_error="1e-3")
    for node in nodes:
        for replica in [row for row in leased(job) if row.node_id == node.pk][:8]:
            take(report_of(replica, status="failed", reason="model_died", answers=[]))
    return job
