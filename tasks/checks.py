"""What a client bought and what was done for it: tier, checks made, estimated error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum

from tasks.models import Chunk, Job, Replica
from tasks.verification import acceptance, estimate

#: Audits of one job are few; those of the same model in this time say more.
LATELY = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The checks of one job; counts of chunks unless the name says otherwise."""

    target_error: str
    epsilon: float
    #: Accepted on the word of one node with a record; by several; by the referee.
    by_one: int
    by_several: int
    by_referee: int
    gold: int
    audits: int
    audits_failed: int
    referee: int
    disagreements: int
    corrections: int
    #: Nodes whose answers were accepted.
    nodes: int
    #: Of this job's audits; None while there are none.
    job_error: estimate.Estimate | None
    #: Of all audits of the model in the last 30 days; None while there are none.
    model_error: estimate.Estimate | None


def of_job(job: Job, *, now: datetime) -> Checks:
    """Describe the checks of a job; five queries."""
    counted = _accepted(job)
    audited = Job.objects.filter(model_id=job.model_id, submitted_at__gte=now - LATELY).aggregate(
        audits=Sum("audits", default=0), failed=Sum("audits_failed", default=0)
    )
    nodes = job.replicas.filter(state=Replica.State.ACCEPTED).aggregate(
        nodes=Count("node", distinct=True)
    )
    return Checks(
        target_error=job.target_error,
        epsilon=acceptance.TIERS[job.target_error].epsilon,
        by_one=counted["one"],
        by_several=counted["several"],
        by_referee=counted["referee"],
        gold=job.gold_checks,
        audits=job.audits,
        audits_failed=job.audits_failed,
        referee=job.referee_runs,
        disagreements=job.disagreements,
        corrections=job.corrections,
        nodes=nodes["nodes"],
        job_error=estimate.of_audits(audits=job.audits, failed=job.audits_failed),
        model_error=estimate.of_audits(audits=audited["audits"], failed=audited["failed"]),
    )


def _accepted(job: Job) -> dict[str, int]:
    chunks = Chunk.objects.filter(
        job=job, state__in=[Chunk.State.PROVISIONAL, Chunk.State.FINAL]
    ).annotate(agreed=Count("replicas", filter=Q(replicas__state=Replica.State.ACCEPTED)))
    # A referee's word stands whoever agreed with it.
    people = Q(referee_answer__isnull=True)
    counted: dict[str, int] = Chunk.objects.filter(pk__in=chunks.order_by().values("pk")).aggregate(
        referee=Count("pk", filter=~people)
    )
    by_people = chunks.filter(people)
    return {
        **counted,
        "one": by_people.filter(agreed=1).count(),
        "several": by_people.filter(agreed__gt=1).count(),
    }
