"""Read a chunk's rows as the facts that the policy decides from."""

from __future__ import annotations

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
    def canonical(self) -> Replica | None:
        """Whose answer the client was given; None while open, or if it is the referee's."""
        return next((row for row in self.answered if row.is_canonical), None)


def read(chunk: Chunk, *, now: datetime) -> Case:
    """Read all facts about a chunk that the caller has locked; two queries."""
    replicas = list(chunk.replicas.order_by("reported_at", "pk"))
    answered = [row for row in replicas if is_answer(row)]
    running = [row for row in replicas if row.state == _S.LEASED]
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
        running=_checks_of(running, model_id=job.model_id),
        attempts=len(tried),
        errors=[row.error_code for row in tried if row.state == _S.FAILED],
        referee=None if chunk.referee_answer is None else _as_answer(chunk.referee_answer),
        referee_error=chunk.referee_error,
        is_drawn=_is_drawn(chunk, given),
        is_overdue=chunk.settles_at is not None and chunk.settles_at <= now,
        kind=job.kind,
        mode=job.mode,
    )
    return Case(chunk=chunk, replicas=replicas, answered=answered, running=running, facts=facts)


def is_answer(replica: Replica) -> bool:
    """Say whether it gave a valid answer, whatever became of it."""
    return replica.state in (_S.REPORTED, _S.ACCEPTED) or (
        replica.state == _S.REJECTED and replica.reason in COMPARED
    )


def answer_of(replica: Replica) -> agreement.Answer:
    """Return the answer as the comparators read it."""
    assert replica.answer is not None, "only answered replicas are read"
    return _as_answer(replica.answer)


def _as_answer(stored: list[list[list[float]]]) -> agreement.Answer:
    return [[tuple(found) for found in picture] for picture in stored]  # type: ignore[return-value]  # the shapes were checked when it was stored


def _checks_of(running: list[Replica], *, model_id: str) -> list[float]:
    """Return how many checks each node at work has passed by now."""
    if not running:
        return []
    known = dict(
        Credibility.objects.filter(
            model=model_id, node__in=[row.node_id for row in running]
        ).values_list("node_id", "checks_tenths")
    )
    return [known.get(row.node_id, 0) / 10 for row in running]


def _is_drawn(chunk: Chunk, given: list[acceptance.Given]) -> bool:
    """An audit follows an answer accepted on one word; of several, the newest node counts."""
    believed = [each.checks for each in given if not each.is_doubted]
    return (
        chunk.job.mode == Job.Mode.NORMAL
        and bool(believed)
        and audits.is_drawn(chunk_id=chunk.pk, checks=min(believed))
    )
