"""A second node for work that is late: neither the slowest nor the dead hold a result up.

Two kinds of late work get one more node, once a chunk; whoever answers first decides:

- what takes longer than 1.5 times what three quarters of the job's answers took, picture by
  picture: at most a twentieth of the job's running work, a tenth when there is nothing else
  to give out;
- what seems to have died with its node: as late, longer than the node itself usually takes,
  and not a word from it for as long; or no sign of life for two heartbeats. At most a quarter:
  when everybody is silent at once, it is we who do not hear.

See Note [Overtaken work]. Figures: docs/performance.md and Dean and Barroso, The Tail at
Scale (2013).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q

from tasks import candidates, dispatch, fleet
from tasks.models import Chunk, Credibility, Job, Replica

LATE_FROM: Final = 1.5
#: Shares of a job's running work that may be hedges.
SHARE_MAX: Final = 0.05
SHARE_AT_END_MAX: Final = 0.1
SHARE_OF_DEAD_MAX: Final = 0.25
#: Answers from which it is known what usual is, and those looked at.
ANSWERS_MIN: Final = 4
ANSWERS_MAX: Final = 200
#: Work is never late before this.
LATE_MIN: Final = timedelta(seconds=1)
#: Running work looked at in one sweep, and jobs.
RUNNING_MAX: Final = 500
JOBS_MAX: Final = 100
_S = Replica.State
_P = Replica.Purpose


@dataclass(frozen=True, kw_only=True)
class Running:
    """One node's work on a chunk, as far as it tells how late it is."""

    chunk: int
    #: Pictures in it, and one more for what each chunk costs besides.
    images: int = 1
    #: Since it was given out.
    elapsed: timedelta
    #: Since the last word of its node.
    silent: timedelta
    #: What the node should take, the work before it included; None: unknown.
    expected: timedelta | None = None


def hedge(*, now: datetime) -> int:
    """Ask for one more node for each chunk that is late; return how many."""
    running = _running(now=now)
    if not running:
        return 0
    at_end = _at_their_end(running)
    counts = _counts(running)
    late: dict[str, list[int]] = {}
    for job_id, rows in running.items():
        out, hedges = counts[job_id]
        late[job_id] = choose(
            rows, usual=_usual(job_id), out=out, hedges=hedges, is_at_end=job_id in at_end
        )
    return _ask({job_id: chunk_ids for job_id, chunk_ids in late.items() if chunk_ids})


def choose(
    rows: Sequence[Running], *, usual: timedelta | None, out: int, hedges: int, is_at_end: bool
) -> list[int]:
    """Return the chunks of a job to hedge, the dead before the late. Pure.

    `rows`: work on chunks without a hedge, in the order to look at; `usual`: what three
    quarters of the answers took at most for one of `Running.images`, None while too few are
    in; `out`: leases of the job, `hedges` among them.
    """
    late = [row for row in rows if usual is not None and row.elapsed > _late_from(row, usual)]
    dead = [row for row in rows if row.silent > fleet.SILENT]
    if usual is not None:
        dead += [row for row in late if _is_overdue(row, usual) and row not in dead]
    share = SHARE_AT_END_MAX if is_at_end else SHARE_MAX
    chosen = _first(dead, max(1, int(SHARE_OF_DEAD_MAX * out)) - hedges)
    others = [row for row in late if row.chunk not in chosen]
    return chosen + _first(others, max(1, int(share * out)) - hedges - len(chosen))


def _ask(late: Mapping[str, Sequence[int]]) -> int:
    """Let these chunks want one more node, by job; return how many do."""
    if not late:
        return 0
    chunk_ids = [chunk_id for chunks in late.values() for chunk_id in chunks]
    with transaction.atomic():
        # In order, as all who lock several. Conditional: what wants a node for another reason
        # needs no hedge.
        held = (
            Chunk.objects.select_for_update(of=("self",), no_key=True)
            .filter(pk__in=chunk_ids, state=Chunk.State.OPEN, granted=F("wanted"))
            .order_by("pk")
        )
        ready = list(held.values_list("pk", flat=True))
        hedged = Chunk.objects.filter(pk__in=ready, state=Chunk.State.OPEN, granted=F("wanted"))
        count = hedged.update(wanted=F("wanted") + 1, purpose=_P.HEDGE)
        if count:
            dispatch.schedule(job_ids=sorted(late))
    return count


def _late_from(row: Running, usual: timedelta) -> timedelta:
    return max(LATE_MIN, LATE_FROM * usual * row.images)


def _is_overdue(row: Running, usual: timedelta) -> bool:
    """Say whether the node should have spoken by now, by its own measure."""
    if row.expected is None:
        return False
    return row.silent > _late_from(row, usual) and row.elapsed > LATE_FROM * row.expected


def _first(rows: Sequence[Running], count: int) -> list[int]:
    return list(dict.fromkeys(row.chunk for row in rows))[: max(0, count)]


def _running(*, now: datetime) -> dict[str, list[Running]]:
    """Return by job what is out of chunks without a hedge, the longest silent first.

    Two queries. Uses index: replica_open_lease, whose order is that of silence.
    """
    hedged = Replica.objects.filter(chunk=OuterRef("chunk"), purpose=_P.HEDGE)
    rows = list(
        Replica.objects.filter(
            ~Exists(hedged),
            state=_S.LEASED,
            assigned_at__lt=now - LATE_MIN,
            chunk__state=Chunk.State.OPEN,
            chunk__granted=F("chunk__wanted"),
            job__state__in=candidates.OPEN,
            job__mode=Job.Mode.NORMAL,
        )
        .exclude(job__smoke=Job.Smoke.RUNNING)
        .order_by("lease_expires_at", "pk")
        .values_list(
            "job", "job__model", "node", "chunk", "assigned_at",
            "chunk__items_count", "gold", "node__slots", "node__last_seen_at",
        )[:RUNNING_MAX]
    )  # fmt: skip
    paces = _paces(models={row[1] for row in rows}, node_ids={row[2] for row in rows})
    found: defaultdict[str, list[Running]] = defaultdict(list)
    for job_id, model_id, node_id, chunk_id, assigned_at, items, gold, slots, seen_at in rows:
        image_ms = paces.get((node_id, model_id))
        turns = 2 if slots > 1 else 1  # it may wait for the work before it
        images = items + (gold is not None)
        expected = image_ms and timedelta(milliseconds=turns * images * image_ms)
        found[job_id].append(
            Running(
                chunk=chunk_id,
                images=items + 1,
                elapsed=now - assigned_at,
                silent=now - max(assigned_at, seen_at or assigned_at),
                expected=expected or None,
            )
        )
    return dict(list(found.items())[:JOBS_MAX])


def _paces(
    *, models: Collection[str], node_ids: Collection[str]
) -> dict[tuple[str, str], float | None]:
    known = Credibility.objects.filter(model__in=models, node__in=node_ids)
    rows = known.order_by().values_list("node", "model", "image_ms")
    return {(node_id, model_id): image_ms for node_id, model_id, image_ms in rows}


def _at_their_end(job_ids: Collection[str]) -> set[str]:
    """Return the jobs that have nothing to give out."""
    ready = Chunk.objects.filter(
        job=OuterRef("pk"), state=Chunk.State.OPEN, granted__lt=F("wanted")
    )
    jobs = Job.objects.filter(~Exists(ready), pk__in=list(job_ids))
    return set(jobs.values_list("pk", flat=True))


def _counts(job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
    """Return each job's leases and the hedges among them."""
    rows = (
        Replica.objects.filter(job__in=list(job_ids), state=_S.LEASED)
        .order_by()
        .values("job")
        .annotate(out=Count("pk"), hedges=Count("pk", filter=Q(purpose=_P.HEDGE)))
    )
    return defaultdict(lambda: (0, 0), {row["job"]: (row["out"], row["hedges"]) for row in rows})


def _usual(job_id: str) -> timedelta | None:
    """Return what three quarters of the job's latest answers took at most, for each picture.

    Chunks are uneven, and smaller towards the end: a large one is not late for being large.
    """
    answered = (
        Replica.objects.filter(job=job_id, state__in=[_S.REPORTED, _S.ACCEPTED])
        .order_by("-pk")
        .values_list("assigned_at", "reported_at", "chunk__items_count")[:ANSWERS_MAX]
    )
    return percentile(
        [(end - start) / (items + 1) for start, end, items in answered if end is not None]
    )


def percentile(durations: Sequence[timedelta]) -> timedelta | None:
    """Return the 75th percentile; None of too few."""
    if len(durations) < ANSWERS_MIN:
        return None
    return sorted(durations)[(3 * len(durations) - 1) // 4]


# Note [Overtaken work]
# ~~~~~~~~~~~~~~~~~~~~~
# When a hedge's answer is accepted, whoever was late keeps the lease. Were it withdrawn and
# paid as work that is not needed, whoever takes chunks and computes none would be paid for
# waiting; and a dead node's places would be free at once, filled again and lost again. So it
# may still answer: then it is compared, credited and paid like any late answer. If it does not,
# the lease runs out, unpaid, and the quota shrinks. The chunk is accepted meanwhile and does
# not settle before. The policy does not count such work as coming (`facts`), and when its lease
# ends nobody is asked in its place (`leases.end`).
