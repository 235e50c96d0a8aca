"""What the scheduler chooses from: a fair window of ready chunks, and nodes with free slots.

A fixed number of queries however many jobs, chunks and nodes there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from tasks import allowances, fleet, matching
from tasks.models import Ack, Apart, Chunk, Credibility, Job, Node, Replica
from tasks.models.replicas import ENDED_WITHOUT_ANSWER
from tasks.reasons import ReplicaReason
from tasks.verification import acceptance

#: Jobs and chunks looked at in one pass.
JOBS_MAX = 100
CHUNKS_MAX = 200
#: Chunks looked at of one job, whatever the number of jobs.
CHUNKS_OF_JOB_MIN = 4
#: Nodes looked at in one pass.
NODES_MAX = 500
#: Times one owner may lose a chunk or give it back before others alone are asked.
AGAIN_MAX = 3
#: A job that got nothing is looked at again after the others.
PASSED_OVER = timedelta(seconds=1)

OPEN = (Job.State.QUEUED, Job.State.RUNNING)
_READY = Q(state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL], granted__lt=F("wanted"))
_S = Replica.State
_P = Replica.Purpose
#: Given to nodes with a record before others.
_URGENT = frozenset({_P.AUDIT, _P.RECHECK, _P.HEDGE})

# Uses index: chunk_ready. The chunks of each job by its own look into the index: a window
# function would read every ready chunk of a job of a million.
_WINDOW = {
    "postgresql": """
        SELECT chunk.id
        FROM unnest(%s::text[]) AS wanted (job_id)
        CROSS JOIN LATERAL (
            SELECT id FROM tasks_chunk
            WHERE job_id = wanted.job_id AND state IN ('open', 'provisional')
                AND granted < wanted
            ORDER BY id LIMIT %s
        ) AS chunk
    """,
    "sqlite": """
        SELECT outside.id FROM tasks_chunk AS outside
        WHERE outside.job_id IN (SELECT value FROM json_each(%s))
            AND outside.state IN ('open', 'provisional') AND outside.granted < outside.wanted
            AND outside.id IN (
                SELECT id FROM tasks_chunk
                WHERE job_id = outside.job_id AND state IN ('open', 'provisional')
                    AND granted < wanted
                ORDER BY id LIMIT %s
            )
    """,
}


@dataclass(frozen=True, kw_only=True)
class Window:
    """Ready chunks with all that matching asks about them."""

    chunks: list[Chunk]
    ready: list[matching.Ready]
    jobs: dict[str, Job]
    #: Fewer were read than might be: a job may have more that is ready.
    is_cut: bool = False


def jobs_with_work(*, job_ids: Sequence[str] | None = None) -> list[Job]:
    """Return jobs that have a ready chunk, those passed over lately last. One query.

    Checks of accepted chunks go on after their job has ended. While a smoke test runs, only
    the first chunk counts.
    """
    ready = Chunk.objects.filter(_READY, job=OuterRef("pk"))
    trial = ready.filter(index=0)
    jobs = Job.objects.filter(
        Q(Exists(ready), state__in=OPEN) & ~Q(smoke=Job.Smoke.RUNNING)
        | Q(Exists(trial), state__in=OPEN, smoke=Job.Smoke.RUNNING)
    )
    if job_ids is not None:
        jobs = jobs.filter(pk__in=job_ids)
    found = list(
        jobs.select_related("model").order_by(
            "-priority", F("passed_over_at").asc(nulls_first=True), "submitted_at", "pk"
        )[:JOBS_MAX]
    )
    return [*found, *_ended_with_checks(found, job_ids)]


def _ended_with_checks(found: Sequence[Job], job_ids: Sequence[str] | None) -> list[Job]:
    """Return ended jobs of which an accepted chunk is being checked. Uses chunk_checking.

    Cancelled ones as well: the results they have stay, so they must stay right.
    """
    checking = Chunk.objects.filter(state=Chunk.State.PROVISIONAL, granted__lt=F("wanted"))
    if job_ids is not None:
        checking = checking.filter(job__in=job_ids)
    of_jobs = checking.order_by("pk").values_list("job", flat=True)[:CHUNKS_MAX]
    known = {job.pk for job in found}
    ended = Job.objects.filter(
        pk__in=set(of_jobs) - known, state__in=[Job.State.FINISHED, Job.State.CANCELLED]
    )
    return list(ended.select_related("model").order_by("submitted_at", "pk"))


def window(jobs: Sequence[Job], *, places: int = CHUNKS_MAX) -> Window:
    """Read the first ready chunks of each job. Three queries.

    No more of each than there are `places` to fill, and one when there are none: that tells
    what it waits for.
    """
    if not jobs:
        return Window(chunks=[], ready=[], jobs={})
    most = max(CHUNKS_OF_JOB_MIN, CHUNKS_MAX // len(jobs))
    each = min(most, max(places, 1))
    by_id = {job.pk: job for job in jobs}
    chunks = [
        chunk
        for chunk in Chunk.objects.filter(pk__any_of=_first_ready(list(by_id), each)).order_by("pk")
        if chunk.index == 0 or by_id[chunk.job_id].smoke != Job.Smoke.RUNNING
    ]
    replicas: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    rows = list(
        Replica.objects.filter(chunk__any_of=[chunk.pk for chunk in chunks])
        .order_by("pk")
        .values("chunk", "operator", "state", "reason", "checks_tenths", "node__network", "node")
    )
    for row in rows:
        replicas[row["chunk"]].append(dict(row))
    checks = _checks_of_holders(rows, by_id.values())
    ready = [_ready(chunk, by_id[chunk.job_id], replicas[chunk.pk], checks) for chunk in chunks]
    counts = Counter(chunk.job_id for chunk in chunks)
    return Window(
        chunks=chunks,
        ready=ready,
        jobs=by_id,
        is_cut=each < most and each in counts.values(),
    )


def _first_ready(job_ids: Sequence[str], each: int) -> list[int]:
    ids: Any = list(job_ids)
    if connection.vendor != "postgresql":
        ids = connection.ops.adapt_json_value(list(job_ids), None)
    with connection.cursor() as cursor:
        cursor.execute(_WINDOW[connection.vendor], [ids, each])
        return [chunk_id for (chunk_id,) in cursor.fetchall()]


def _checks_of_holders(
    rows: Iterable[Mapping[str, Any]], jobs: Iterable[Job]
) -> dict[tuple[str, str], float]:
    """Return what nodes that hold one of the chunks are believed now. One query."""
    holders = {row["node"] for row in rows if row["state"] == _S.LEASED}
    if not holders:
        return {}
    known = Credibility.objects.filter(
        node__in=holders, model__in={job.model_id for job in jobs}
    ).values_list("node", "model", "checks_tenths")
    return {(node, model): tenths / 10 for node, model, tenths in known}


def _ready(
    chunk: Chunk,
    job: Job,
    rows: Sequence[Mapping[str, Any]],
    checks: Mapping[tuple[str, str], float],
) -> matching.Ready:
    ended = Counter(row["operator"] for row in rows if row["reason"] in ENDED_WITHOUT_ANSWER)
    tried = {row["operator"] for row in rows if row["reason"] not in ENDED_WITHOUT_ANSWER}
    has_it = [row for row in rows if row["state"] in {_S.LEASED, _S.REPORTED, _S.ACCEPTED}]
    attempts = sum(row["reason"] != ReplicaReason.HANDED_BACK for row in rows)
    is_check = chunk.purpose in _URGENT
    return matching.Ready(
        id=chunk.pk,
        job=job.pk,
        model=job.model_id,
        client=job.owner_id,
        target_error=job.target_error,
        mode=job.mode,
        client_category=job.client_category,
        wanted=chunk.wanted,
        granted=chunk.granted,
        # As many as are shown: a chunk may hold a gold picture.
        images=chunk.items_count + 1,
        priority=job.priority,
        since=job.submitted_at.timestamp(),
        tried=frozenset(tried | {owner for owner, count in ended.items() if count >= AGAIN_MAX}),
        lost=frozenset(ended),
        networks=frozenset(row["node__network"] for row in has_it) - {""},
        numeric_class=chunk.numeric_class,
        checks=tuple(
            row["checks_tenths"] / 10
            if row["state"] != _S.LEASED
            else checks.get((row["node"], job.model_id), 0.0)
            for row in has_it
        ),
        attempts_left=acceptance.ATTEMPTS_MAX - attempts,
        is_new=not rows,
        is_urgent=is_check or bool(ended),
        is_class_pinned=job.model.is_class_pinned,
        needs_ack=job.state in OPEN,
    )


def free_nodes(
    jobs: Sequence[Job], *, now: datetime, node_ids: Sequence[str] | None = None
) -> list[matching.Candidate]:
    """Return nodes with free slots that acknowledged one of the jobs. Five queries."""
    job_ids = [job.pk for job in jobs]
    nodes = _asked(jobs, now=now)
    if node_ids is not None:
        nodes = nodes.filter(pk__in=node_ids)
    found = _free(nodes, now=now)
    acked: defaultdict[str, set[str]] = defaultdict(set)
    for node_id, job_id in Ack.objects.filter(node__in=found, job__in=job_ids).values_list(
        "node", "job"
    ):
        acked[node_id].add(job_id)
    records = _records(found, jobs, now=now)
    return [
        matching.Candidate(
            id=node.pk,
            owner=node.owner_id,
            free=node.slots - node.held,  # type: ignore[attr-defined]  # annotated by _free
            held=node.held,  # type: ignore[attr-defined]  # the same
            network=node.network,
            numeric_class=node.numeric_class,
            jobs=frozenset(acked[node.pk]),
            client_categories=allowances.client_categories(node.wishes, node.profile),
            records=records[node.pk],
        )
        for node in found
    ]


def _free(nodes: QuerySet[Node], *, now: datetime) -> list[Node]:
    """Return the idlest nodes with free slots; each has the attribute `held`. One query.

    Whoever holds work and is silent gets no more of it before it is heard: it may be dead.
    Counted in a query of its own for each node, over replica_held_by_node: a join would read
    all that they ever did.
    """
    leased = (
        Replica.objects.filter(node=OuterRef("pk"), state=_S.LEASED)
        .order_by()
        .values("node")
        .annotate(count=Count("pk"))
        .values("count")
    )
    held_now = Coalesce(Subquery(leased), Value(0), output_field=IntegerField())
    is_heard = Q(held=0) | Q(last_seen_at__gte=now - fleet.SILENT)
    free = nodes.annotate(held=held_now).filter(is_heard, held__lt=F("slots"))
    return list(free.order_by("held", "pk")[:NODES_MAX])


def _held_by(node_ids: Iterable[str]) -> Counter[str]:
    rows = Replica.objects.filter(node__in=node_ids, state=_S.LEASED)
    return Counter(rows.values_list("node", flat=True))


def _asked(jobs: Sequence[Job], *, now: datetime) -> QuerySet[Node]:
    """Return online nodes that acknowledged a job, or know the model of a check."""
    models = {job.model_id for job in jobs if job.state not in OPEN}
    acks = Ack.objects.filter(node=OuterRef("pk"), job__in=[job.pk for job in jobs])
    asked = Q(Exists(acks))
    if models:
        asked |= Q(Exists(Credibility.objects.filter(node=OuterRef("pk"), model__in=models)))
    return fleet.online(now=now).filter(asked)


def lock_free(node_ids: Iterable[str]) -> dict[str, int]:
    """Lock the nodes in order and return how many slots each has free now. Two queries.

    Two schedulers that chose the same node wait here, so its slots are never promised twice.
    """
    rows = Node.objects.select_for_update(of=("self",), no_key=True).filter(
        # Staff may have been faster.
        pk__in=set(node_ids),
        drained_at=None,
        quarantined_at=None,
    )
    slots = {node.pk: node.slots for node in rows.order_by("pk")}
    held_now = _held_by(slots)
    return {node_id: count - held_now[node_id] for node_id, count in slots.items()}


def _records(
    nodes: Sequence[Node], jobs: Sequence[Job], *, now: datetime
) -> dict[str, dict[str, matching.Record]]:
    """Return what is known of each node for each model asked for. Two queries."""
    models = {job.model_id: job.model for job in jobs}
    known = {
        (row.node_id, row.model_id): row
        for row in Credibility.objects.filter(node__in=nodes, model__in=models)
    }
    leased = (
        Replica.objects.filter(node__in=nodes, state=_S.LEASED)
        .order_by()
        .values_list("node", "job__model")
        .annotate(count=Count("pk"))
    )
    out = Counter({(node_id, model_id): count for node_id, model_id, count in leased})
    records: dict[str, dict[str, matching.Record]] = {node.pk: {} for node in nodes}
    for node in nodes:
        cached = set(node.cached_models)
        for model_id, model in models.items():
            row = known.get((node.pk, model_id))
            has_model = model.blob_id in cached
            if row is None:
                if has_model:
                    records[node.pk][model_id] = matching.Record(has_model=True)
                continue
            records[node.pk][model_id] = matching.Record(
                checks=row.checks_tenths / 10,
                quota_left=row.quota - out[(node.pk, model_id)],
                is_barred=is_barred(row, now=now),
                image_ms=row.image_ms,
                has_model=has_model,
            )
    return records


def is_barred(row: Credibility, *, now: datetime) -> bool:
    """Say whether strikes, or staff, keep the node from work of the model."""
    if row.quarantined_at is not None:
        return True
    if row.state == Credibility.State.BANNED:
        return True
    is_quarantined = row.state == Credibility.State.QUARANTINED
    return is_quarantined and (row.barred_until is None or row.barred_until > now)


def held(jobs: Sequence[Job]) -> dict[Hashable, int]:
    """Return the leases each job has out, and each client, for fair shares. One query."""
    out: Counter[Hashable] = Counter()
    rows = (
        Replica.objects.filter(job__in=jobs, state=_S.LEASED)
        .values_list("job", "job__owner")
        .annotate(count=Count("pk"))
    )
    for job_id, owner_id, count in rows.order_by():
        out[job_id] += count
        out[owner_id] += count
    return dict(out)


def apart(nodes: Sequence[matching.Candidate]) -> frozenset[tuple[int, int]]:
    """Return the pairs of owners that are kept apart. One query."""
    owners = {node.owner for node in nodes}
    pairs = Apart.objects.filter(Q(first__in=owners) | Q(second__in=owners))
    return frozenset(pairs.values_list("first", "second"))
