"""The platform in figures: what a monitoring system reads every few seconds.

The parts of the overview that are cheap enough for that, and what waits to leave the platform
or to be posted. Whose it is never stands in them: no user, client or node is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from payments import queries as payments_queries
from tasks import sweeps
from tasks.models import Job, Platform, Replica
from tasks.operations import gates, messages, overview, platform, trust


@dataclass(frozen=True, kw_only=True)
class Unsent:
    """Messages that should have left and are built again by the sweeps, by kind."""

    #: Open jobs that were never announced.
    announcements: int
    #: Leases whose node has not begun in time: the assignment may never have arrived.
    assignments: int
    #: Nodes of whose state the broker was not told yet.
    admissions: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All of it, as of `taken_at`; counts stop at `overview.COUNT_MAX`."""

    taken_at: datetime
    platform: Platform
    queues: messages.Queues
    jobs: Sequence[overview.JobsInState]
    work: overview.Work
    gates: gates.Refusals
    #: State -> nodes, in the order of `overview.NODE_STATES`.
    nodes: Mapping[str, int]
    referee: trust.RefereeState
    todo: overview.Todo
    unsent: Unsent
    money: payments_queries.Waiting


def take(*, now: datetime) -> Figures:
    """Look at all of it; a fixed number of queries, and the broker within its time."""
    todo = overview.todo()
    return Figures(
        taken_at=now,
        platform=platform.read(),
        queues=messages.queues(),
        jobs=overview.jobs(),
        work=overview.work(),
        gates=gates.refusals(now=now),
        nodes=overview.nodes(now=now),
        referee=trust.referee_state(now=now),
        todo=todo,
        unsent=_unsent(now=now, admissions=todo.nodes_broker_behind),
        money=payments_queries.waiting(now=now, count_max=overview.COUNT_MAX),
    )


def _unsent(*, now: datetime, admissions: int) -> Unsent:
    """Count what the sweeps would send again. Two queries, over job_open and replica_open_lease."""
    unannounced = Job.objects.filter(
        state__in=[Job.State.QUEUED, Job.State.RUNNING], announced_at=None
    )
    unstarted = Replica.objects.filter(
        state=Replica.State.LEASED,
        started_at=None,
        assigned_at__lt=now - sweeps.UNSTARTED_AFTER,
        lease_expires_at__gt=now,
    )
    return Unsent(
        announcements=unannounced.order_by()[: overview.COUNT_MAX].count(),
        assignments=unstarted.order_by()[: overview.COUNT_MAX].count(),
        admissions=admissions,
    )
