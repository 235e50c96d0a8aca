"""Who gets what: match ready chunks to nodes with free slots.

`candidates` reads, `matching` decides, this module writes: up to BATCH_MAX grants in one
transaction, a handful of statements for all of them, several transactions to one look.
Several processes may schedule: they take turns (`turns`), for two that choose from the same
chunks waste each other's work. It is right without: a node's slots are counted under the lock
of its row, a chunk's by one conditional UPDATE, the rest is held by constraints.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from tasks import bulk, candidates, dispatch, events, matching, turns, waiting
from tasks.models import Chunk, Job, Replica
from tasks.operations import platform
from tasks.reasons import EventCode
from tasks.verification import gold

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=settings.LEASE_SECONDS)
#: What waits at a node behind other work should be done well within a lease.
WAIT_MS_MAX = settings.LEASE_SECONDS * 1000 / 2
#: Assignments made in one transaction: each costs a dozen statements, whatever their number.
BATCH_MAX = 200
#: Assignments chosen at one time, from one look at chunks and nodes.
PASS_MAX = 200
#: Such looks in one call; what is left then is done by the next.
ROUNDS_MAX = 10

# `granted` is what the decision was made on: a chunk that changed meanwhile is left out.
_CLAIM = """
UPDATE tasks_chunk
SET granted = tasks_chunk.granted + given.column3,
    wanted = CASE WHEN tasks_chunk.wanted < given.column4
        THEN given.column4 ELSE tasks_chunk.wanted END,
    numeric_class = given.column5
FROM {given}
WHERE tasks_chunk.id = given.column1 AND tasks_chunk.granted = given.column2
    AND tasks_chunk.state IN ('open', 'provisional')
RETURNING tasks_chunk.id
"""


def assign_ready(
    *,
    now: datetime,
    job_ids: Sequence[str] | None = None,
    node_ids: Sequence[str] | None = None,
) -> list[int]:
    """Lease ready chunks to free nodes; return the new replicas' ids.

    Their assignments are published after commit; none if another process is about to do the
    same. Without `job_ids` all jobs with work are looked at, without `node_ids` all nodes. A
    job that gets nothing is given the reason why.
    """
    assigned: list[int] = []
    with turns.schedule(may_skip=job_ids is None and node_ids is None) as is_ours:
        for _ in range(ROUNDS_MAX if is_ours else 0):
            made, is_full = _assign_pass(now=now, job_ids=job_ids, node_ids=node_ids)
            assigned += made
            if not is_full:
                break
    return assigned


def _assign_pass(
    *, now: datetime, job_ids: Sequence[str] | None, node_ids: Sequence[str] | None
) -> tuple[list[int], bool]:
    """Choose once, write in transactions of BATCH_MAX; say as well whether there may be more.

    What was chosen from may have changed when it is written: then that grant is left out.
    """
    jobs = candidates.jobs_with_work(job_ids=job_ids)
    if not jobs:
        return [], False
    if platform.is_drained():
        with transaction.atomic():
            waiting.explain_drained(jobs, now=now)
        return [], False
    nodes = candidates.free_nodes(jobs, now=now, node_ids=node_ids)
    window, matched = _choose(jobs, nodes)
    made: list[Replica] = []
    news = {job.pk for job in jobs if _is_news(job)}
    for batch in _batches(matched.grants):
        with transaction.atomic():
            granted = _grant(window, matched, batch, now=now)
            started = {replica.job_id for replica in granted} & news
            _mark_running(started, now=now)
        news -= started
        made += granted
    given = {replica.job_id for replica in made}
    with transaction.atomic():
        if node_ids is None:
            waiting.explain(
                [job for job in jobs if job.pk not in given],
                refusals=matched.refusals,
                now=now,
            )
        # One call for all: what goes to one node shares its messages.
        dispatch.assign(replica_ids=[replica.pk for replica in made])
    is_full = bool(made) and len(matched.grants) == PASS_MAX
    return [replica.pk for replica in made], is_full


def _choose(
    jobs: Sequence[Job], nodes: Sequence[matching.Candidate]
) -> tuple[candidates.Window, matching.Matched]:
    """Match the first chunks to the nodes: as many as there are places, which usually does.

    Where the first ones may not go to these nodes, so that places stay free, more are read.
    """
    places = sum(node.free for node in nodes)
    match = partial(
        matching.match,
        nodes=nodes,
        limit=PASS_MAX,
        held=candidates.held(jobs),
        apart=candidates.apart(nodes),
        wait_ms_max=WAIT_MS_MAX,
    )
    window = candidates.window(jobs, places=places)
    matched = match(window.ready)
    if window.is_cut and len(matched.grants) < places:
        window = candidates.window(jobs)
        matched = match(window.ready)
    return window, matched


def _batches(grants: Sequence[matching.Grant]) -> Iterator[list[matching.Grant]]:
    """Split grants, by chunk: each chunk's are written in one transaction."""
    batch: list[matching.Grant] = []
    by_chunk: defaultdict[int, list[matching.Grant]] = defaultdict(list)
    for grant in grants:
        by_chunk[grant.chunk].append(grant)
    for together in by_chunk.values():
        if batch and len(batch) + len(together) > BATCH_MAX:
            yield batch
            batch = []
        batch += together
    if batch:
        yield batch


def _grant(
    window: candidates.Window,
    matched: matching.Matched,
    batch: Sequence[matching.Grant],
    *,
    now: datetime,
) -> list[Replica]:
    """Write grants; those another process was faster with are left out."""
    free = candidates.lock_free(grant.node for grant in batch)
    grants: defaultdict[int, list[str]] = defaultdict(list)
    for grant in batch:
        if free.get(grant.node, 0) > 0:
            free[grant.node] -= 1
            grants[grant.chunk].append(grant.node)
    chunks = {chunk.pk: chunk for chunk in window.chunks}
    try:
        with transaction.atomic():
            return _write(window, chunks, grants, matched, now=now)
    except IntegrityError:
        # replica_once_per_owner: an owner got a chunk by another process in this moment.
        logger.info("a batch is written chunk by chunk")
    made: list[Replica] = []
    for chunk_id in sorted(grants):
        try:
            with transaction.atomic():
                one = {chunk_id: grants[chunk_id]}
                made += _write(window, chunks, one, matched, now=now)
        except IntegrityError:
            logger.info("chunk already with this owner", extra={"chunk_id": chunk_id})
    return made


def _write(
    window: candidates.Window,
    chunks: dict[int, Chunk],
    grants: dict[int, list[str]],
    matched: matching.Matched,
    *,
    now: datetime,
) -> list[Replica]:
    claimed = _claim(
        [
            (
                chunk_id,
                chunks[chunk_id].granted,
                len(grants[chunk_id]),
                max(
                    matched.wanted[chunk_id],
                    chunks[chunk_id].granted + len(grants[chunk_id]),
                ),
                matched.pinned.get(chunk_id, chunks[chunk_id].numeric_class),
            )
            for chunk_id in sorted(grants)
        ]
    )
    owners = matched.owners
    replicas = [
        _replica(chunks[chunk_id], window.jobs, node_id, owners[node_id], now=now)
        for chunk_id in sorted(claimed)
        for node_id in grants[chunk_id]
    ]
    _show_gold(window, matched, grants, replicas)
    return bulk.insert(replicas, key="nonce")


def _show_gold(
    window: candidates.Window,
    matched: matching.Matched,
    grants: Mapping[int, Sequence[str]],
    replicas: Sequence[Replica],
) -> None:
    """Let chunks that are given out for the first time carry gold by lot."""
    given = {replica.chunk_id for replica in replicas}
    gold.show(
        replicas,
        first={
            ready.id: matched.checks[ready.id, grants[ready.id][0]]
            for ready in window.ready
            if ready.id in given and ready.is_new
        },
        datasets={job.pk: job.dataset_id for job in window.jobs.values()},
    )


def _claim(claims: Sequence[tuple[int, int, int, int, str]]) -> list[int]:
    """Take slots of chunks in one statement; return the chunks that were as they were read."""
    if not claims:
        return []
    # Locked in order first: the UPDATE alone takes rows as the plan finds them.
    list(
        Chunk.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__any_of=[claim[0] for claim in claims])
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    taken = bulk.update(_CLAIM, claims, types=("bigint", "int", "int", "int", "text"))
    return [chunk_id for (chunk_id,) in taken]


def _replica(
    chunk: Chunk, jobs: dict[str, Job], node_id: str, owner_id: int, *, now: datetime
) -> Replica:
    job = jobs[chunk.job_id]
    return Replica(
        chunk=chunk,
        job=job,
        node_id=node_id,
        operator_id=owner_id,
        purpose=Replica.Purpose.RACE if job.mode == Job.Mode.RACE else chunk.purpose,
        nonce=secrets.token_hex(16),
        assigned_at=now,
        lease_expires_at=now + LEASE,
        reward_minor=job.reward_image_minor * chunk.items_count,
        fee_minor=job.fee_image_minor * chunk.items_count,
    )


def _is_news(job: Job) -> bool:
    """Say whether that it got something changes the job, as it was read."""
    is_running = job.state == Job.State.RUNNING
    return not is_running or bool(job.reason) or job.passed_over_at is not None


def _mark_running(job_ids: set[str], *, now: datetime) -> None:
    """Say of the jobs that got something that they run. Three statements for all."""
    if not job_ids:
        return
    queued = Job.objects.select_for_update(of=("self",), no_key=True).filter(
        pk__in=job_ids, state=Job.State.QUEUED
    )
    started = sorted(queued.order_by("pk").values_list("pk", flat=True))
    if started:
        Job.objects.filter(pk__in=started, state=Job.State.QUEUED).update(
            state=Job.State.RUNNING, reason="", version=F("version") + 1
        )
        events.record_all(job_ids=started, code=EventCode.STARTED, now=now)
    Job.objects.filter(pk__in=job_ids, state=Job.State.RUNNING).filter(
        ~Q(reason="") | Q(passed_over_at__isnull=False)
    ).update(reason="", passed_over_at=None, version=F("version") + 1)
