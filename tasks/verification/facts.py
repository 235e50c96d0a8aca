"""Read a chunk's rows as the facts that the policy decides from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.models import Chunk, Credibility, Job, Replica
from tasks.reasons import ReplicaReason
from tasks.verification import acceptance, agreement, audits

_S = Replica.State
#: Rejected for what they answered, so they are compared all the same; others broke the rules.
COMPARED = (ReplicaReason.DISAGREED, ReplicaReason.WRONG, ReplicaReason.OVERTURNED)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A locked chunk, its replicas, and what the policy may know of them."""

    chunk: Chunk
    replicas: list[Replica]
    #: Those with a valid answer, in the order of `facts.answers`.
    answered: list[Replica]
    running: list[Replica]
    facts: acceptance.Facts

    @property
    def is_open(self) -> bool:
        """Nothing was accepted yet."""
        return self.chunk.state == Chunk.State.OPEN

    @property
    def overtaken(self) -> list[Replica]:
        """Work that was late and is done after its hedge; see Note [Overtaken work]."""
        return _overtaken(self.replicas)

    @property
    def canonical(self) -> Replica | None:
        """Whose answer the client was given; None while open, or if it is the referee's."""
        return next((row for row in self.answered if row.is_canonical), None)


def read(chunk: Chunk, *, now: datetime) -> Case:
    """Read all facts about a chunk that the caller has locked; two queries."""
    return read_all([chunk], now=now)[0]


def read_all(chunks: Sequence[Chunk], *, now: datetime) -> list[Case]:
    """Read all facts about chunks that the caller has locked; two queries for any number."""
    by_chunk: defaultdict[int, list[Replica]] = defaultdict(list)
    rows = Replica.objects.filter(chunk__any_of=[chunk.pk for chunk in chunks])
    for row in rows.order_by("reported_at", "pk"):
        by_chunk[row.chunk_id].append(row)
    checks = _checks_of_holders(chunks, by_chunk)
    return [_case(chunk, by_chunk[chunk.pk], checks, now=now) for chunk in chunks]


def _case(
    chunk: Chunk,
    replicas: list[Replica],
    checks: Mapping[tuple[str, str], float],
    *,
    now: datetime,
) -> Case:
    answered = [row for row in replicas if is_answer(row)]
    running = [row for row in replicas if row.state == _S.LEASED]
    # Of an accepted chunk nobody waits for what was overtaken.
    left = [] if chunk.state == Chunk.State.OPEN else _overtaken(replicas)
    tried = [row for row in replicas if row.reason != ReplicaReason.HANDED_BACK]
    given = [
        acceptance.Given(
            answer=answer_of(row),
            checks=row.checks_tenths / 10,
            is_doubted=row.doubted_at is not None,
        )
        for row in answered
    ]
    job = chunk.job
    facts = acceptance.Facts(
        target_error=job.target_error,
        score_threshold=job.score_threshold,
        answers=given,
        running=[
            checks.get((row.node_id, job.model_id), 0.0) for row in running if row not in left
        ],
        attempts=len(tried),
        errors=[row.error_code for row in tried if row.state == _S.FAILED],
        referee=None if chunk.referee_answer is None else _as_answer(chunk.referee_answer),
        referee_error=chunk.referee_error,
        is_drawn=_is_drawn(chunk, given),
        owners_wanted=chunk.owners_wanted,
        is_overdue=chunk.settles_at is not None and chunk.settles_at <= now,
        kind=job.kind,
        mode=job.mode,
    )
    return Case(chunk=chunk, replicas=replicas, answered=answered, running=running, facts=facts)


def _overtaken(replicas: Sequence[Replica]) -> list[Replica]:
    hedged_at = [row.assigned_at for row in replicas if row.purpose == Replica.Purpose.HEDGE]
    return [
        row
        for row in replicas
        if row.state == _S.LEASED
        and row.purpose == Replica.Purpose.WORK
        and any(at > row.assigned_at for at in hedged_at)
    ]


def is_answer(replica: Replica) -> bool:
    """Say whether it gave a valid answer, whatever became of it."""
    if replica.answer is None:  # it broke the rules, and an appeal was upheld all the same
        return False
    return replica.state in (_S.REPORTED, _S.ACCEPTED) or (
        replica.state == _S.REJECTED and replica.reason in COMPARED
    )


def answer_of(replica: Replica) -> agreement.Answer:
    """Return the answer as the comparators read it."""
    assert replica.answer is not None, "only answered replicas are read"
    return _as_answer(replica.answer)


def _as_answer(stored: list[list[list[float]]]) -> agreement.Answer:
    return [[tuple(found) for found in picture] for picture in stored]  # type: ignore[return-value]  # the shapes were checked when it was stored


def _checks_of_holders(
    chunks: Sequence[Chunk], by_chunk: Mapping[int, Sequence[Replica]]
) -> dict[tuple[str, str], float]:
    """Return how many checks each node at work has passed by now, by node and model."""
    holders = {row.node_id for rows in by_chunk.values() for row in rows if row.state == _S.LEASED}
    if not holders:
        return {}
    known = Credibility.objects.filter(
        node__in=holders, model__in={chunk.job.model_id for chunk in chunks}
    ).values_list("node_id", "model_id", "checks_tenths")
    return {(node_id, model_id): tenths / 10 for node_id, model_id, tenths in known}


def _is_drawn(chunk: Chunk, given: list[acceptance.Given]) -> bool:
    """An audit follows an answer accepted on one word; of several, the newest node counts."""
    believed = [each.checks for each in given if not each.is_doubted]
    return (
        chunk.job.mode == Job.Mode.NORMAL
        and bool(believed)
        and audits.is_drawn(chunk_id=chunk.pk, checks=min(believed))
    )
