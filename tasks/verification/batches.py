"""Decide many chunks at once: the common case in a few statements, the rest one by one.

Common is what honest work leads to: an open chunk whose answers all agree and suffice, with
nothing to doubt or to try first; and an accepted one whose audit says the same. `decide_all`
leaves the same rows as `verdicts.advance` called for each chunk in turn, which is what it is
tested against.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from tasks import bulk, settlement
from tasks.models import Chunk, Job, Replica
from tasks.verification import acceptance, credits, facts, outcomes, terms, verdicts

#: Chunks decided in one transaction.
BATCH_MAX: Final = 200
_S = Replica.State
_P = Replica.Purpose

_REPLICAS = """
UPDATE tasks_replica
SET state = 'accepted', reason = '', credited_tenths = given.column2, sequence = given.column3,
    is_canonical = given.column4
FROM {given}
WHERE tasks_replica.id = given.column1
"""
_CHUNKS = """
UPDATE tasks_chunk
SET state = 'provisional', reason = '', decided_at = given.column2, settles_at = given.column3,
    granted = given.column4, wanted = given.column5, purpose = given.column6, stirred_at = NULL
FROM {given}
WHERE tasks_chunk.id = given.column1 AND tasks_chunk.state = 'open'
"""
_AUDITED = """
UPDATE tasks_chunk
SET granted = given.column2, wanted = given.column2, stirred_at = NULL
FROM {given}
WHERE tasks_chunk.id = given.column1 AND tasks_chunk.state = 'provisional'
"""
_CREDITED = """
UPDATE tasks_replica SET credited_tenths = given.column2
FROM {given}
WHERE tasks_replica.id = given.column1
"""
_ITEMS = """
UPDATE tasks_item
SET state = 'provisional', source = 'machine', decided_at = given.column3,
    detections = {detections}, classes = {classes}
FROM {given}
WHERE tasks_item.chunk_id = given.column1 AND tasks_item.position = given.column2
"""


@dataclass(frozen=True, kw_only=True)
class _Agreed:
    """A common case."""

    case: facts.Case
    #: The canonical one first.
    group: list[Replica]
    is_confirmed: bool
    #: Further answers wanted: an audit, drawn by lot.
    missing: int
    #: Of those the result rests on.
    window: timedelta

    @property
    def joined(self) -> list[Replica]:
        """Those that were not accepted before."""
        return [row for row in self.group if row.state == _S.REPORTED]

    @property
    def is_first(self) -> bool:
        """Whether the client is given a result by it; else an audit has confirmed it."""
        return self.case.is_open

    def matures_at(self, now: datetime) -> datetime:
        """Return when the rewards become available."""
        if not self.is_first:
            assert self.case.chunk.settles_at is not None, "accepted before"
            return self.case.chunk.settles_at
        return now + (max(self.window, terms.HOLD_MAX) if len(self.group) == 1 else self.window)


def decide_all(chunk_ids: Sequence[int], *, now: datetime) -> int:
    """Decide chunks with something new; return how many were of the common kind."""
    common = 0
    for start in range(0, len(chunk_ids), BATCH_MAX):
        part = sorted(chunk_ids[start : start + BATCH_MAX])
        with transaction.atomic():
            done = _decide_common(part, now=now)
        common += len(done)
        for chunk_id in part:
            if chunk_id not in done:
                verdicts.advance(chunk_id=chunk_id, now=now)
    return common


def _decide_common(chunk_ids: Sequence[int], *, now: datetime) -> set[int]:
    chunks = list(
        Chunk.objects.select_for_update(of=("self",))
        .filter(pk__any_of=chunk_ids, state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL])
        .order_by("pk")
    )
    jobs = Job.objects.select_related("model").in_bulk({chunk.job_id for chunk in chunks})
    for chunk in chunks:
        chunk.job = jobs[chunk.job_id]
    agreed = [
        found for case in facts.read_all(chunks, now=now) if (found := _common(case)) is not None
    ]
    if agreed:
        _write(agreed, now=now)
    return {each.case.chunk.pk for each in agreed}


def _common(case: facts.Case) -> _Agreed | None:
    """Decide the chunk if all its answers agree and nothing else is to be done about it."""
    chunk, job = case.chunk, case.chunk.job
    is_plain = (
        not case.running
        and bool(case.answered)
        and all(row.doubted_at is None for row in case.answered)
        and (_is_work(case) if case.is_open else _is_audit(case))
        and job.mode == Job.Mode.NORMAL
        and job.smoke != Job.Smoke.RUNNING
        and chunk.referee_asked_at is None
        and chunk.disagreed_at is None
    )
    if not is_plain:
        return None
    decision = acceptance.decide(case.facts)
    if (
        decision.action != "accept"
        or decision.asks_referee
        or decision.is_disagreement
        or len(decision.group) != len(case.answered)
        or (decision.missing and not case.is_open)
    ):
        return None
    group = [case.answered[index] for index in decision.group]
    checks = [row.checks_tenths / 10 for row in group]
    return _Agreed(
        case=case,
        group=group,
        is_confirmed=len(group) > 1,
        missing=decision.missing,
        window=terms.window(checks),
    )


def _is_work(case: facts.Case) -> bool:
    return all(row.state == _S.REPORTED and row.purpose == _P.WORK for row in case.answered)


def _is_audit(case: facts.Case) -> bool:
    """Say whether all that is new of an accepted chunk, not in question, are audits."""
    new = [row for row in case.answered if row.state != _S.ACCEPTED]
    return (
        bool(new)
        and all(row.state == _S.REPORTED and row.purpose == _P.AUDIT for row in new)
        and case.chunk.reason == ""
        and case.canonical is not None
    )


def _write(agreed: Sequence[_Agreed], *, now: datetime) -> None:
    """Write the verdicts in the order of locks: chunks are held; nodes' records, then jobs.

    Those two last, because other batches wait for them: they share nodes and jobs, no chunks.
    """
    first = [each for each in agreed if each.is_first]
    audited = [each for each in agreed if not each.is_first]
    _give_results(first, now=now)
    _provisional(first, now=now)
    bulk.update(
        _AUDITED,
        [(each.case.chunk.pk, len(each.case.answered)) for each in audited],
        types=("bigint", "int"),
    )
    settlement.reward_first(
        [
            settlement.Earned(
                replicas=each.joined,
                planned=each.case.chunk.job.replicas_planned if each.is_first else 0,
                matures_at=each.matures_at(now),
            )
            for each in agreed
        ],
        now=now,
    )
    by_day: defaultdict[datetime, list[int]] = defaultdict(list)
    for each in audited:
        by_day[each.matures_at(now)] += [row.pk for row in each.group]
    for due_at, replica_ids in sorted(by_day.items()):
        settlement.postpone(replica_ids=replica_ids, due_at=due_at, now=now)
    _accept(agreed)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in agreed:
        job = counts[each.case.chunk.job_id]
        if each.is_first:
            job["items_provisional"] += each.case.chunk.items_count
        else:
            job["audits"] += len(each.joined)
    for job_id in sorted(counts):
        outcomes.count(job_id=job_id, counts=counts[job_id], now=now)


def _accept(agreed: Sequence[_Agreed]) -> None:
    """Accept each answer, credit its node, and number it among the node's."""
    earned = {
        row.pk: credits.earned_tenths(row, is_confirmed=each.is_confirmed)
        for each in agreed
        for row in each.group
    }
    by_model: defaultdict[str, list[Replica]] = defaultdict(list)
    for each in agreed:
        by_model[each.case.chunk.job.model_id] += each.group
    joined = {row.pk for each in agreed for row in each.joined}
    items = {each.case.chunk.pk: each.case.chunk.items_count for each in agreed}
    sequences: dict[int, int] = {}
    for model_id, rows in sorted(by_model.items()):
        sequences |= credits.count_all(
            model_id=model_id, rows=rows, joined=joined, earned=earned, items=items
        )
    canonical = {each.group[0].pk for each in agreed if each.is_first}
    bulk.update(
        _REPLICAS,
        [(pk, earned[pk], sequences[pk], pk in canonical) for pk in sorted(joined)],
        types=("bigint", "int", "int", "bool"),
    )
    later = [row for each in agreed for row in each.group if row.pk not in joined]
    bulk.update(
        _CREDITED,
        sorted((row.pk, earned[row.pk]) for row in later if earned[row.pk] > row.credited_tenths),
        types=("bigint", "int"),
    )


def _give_results(agreed: Sequence[_Agreed], *, now: datetime) -> None:
    rows: list[tuple[Any, ...]] = []
    for each in agreed:
        chunk = each.case.chunk
        given = outcomes.results(chunk.job, facts.answer_of(each.group[0]))
        for position, (detections, classes) in enumerate(given):
            named = None if classes is None else json.dumps(classes)
            rows.append((chunk.pk, position, now, json.dumps(detections), named))
    cast = "CAST(given.{} AS jsonb)" if connection.vendor == "postgresql" else "given.{}"
    statement = _ITEMS.replace("{detections}", cast.format("column4")).replace(
        "{classes}", cast.format("column5")
    )
    bulk.update(statement, rows, types=("bigint", "int", "timestamptz", "text", "text"))


def _provisional(agreed: Sequence[_Agreed], *, now: datetime) -> None:
    bulk.update(
        _CHUNKS,
        [
            (
                each.case.chunk.pk,
                now,
                now + each.window,
                len(each.case.answered),
                len(each.case.answered) + each.missing,
                str(_P.AUDIT) if each.missing else each.case.chunk.purpose,
            )
            for each in agreed
        ],
        types=("bigint", "timestamptz", "timestamptz", "int", "int", "text"),
    )
