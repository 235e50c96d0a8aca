"""What an accepted answer means for each replica that answered: which stand and which fall.

Runs inside the transaction of a verdict, which has locked the chunk; each replica moves by a
conditional update, so it is accepted, counted and accused once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case as Choose
from django.db.models import Value, When

from tasks import settlement
from tasks.models import Job, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import acceptance, agreement, credits, facts, faults

_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What became of the answers."""

    #: Accepted by this ruling.
    joined: list[Replica]
    #: All that are accepted now.
    standing: list[Replica]
    #: Audits that came to an end by it.
    audits: int

    @property
    def believed_checks(self) -> list[float]:
        """Checks of the nodes whose answers carry the result."""
        return [row.checks_tenths / 10 for row in self.standing if row.doubted_at is None]


def carry_out(
    case: facts.Case, decision: acceptance.Decision, *, has_new_answer: bool, now: datetime
) -> Ruling:
    """Accept the group, refuse the others unless the referee is to judge them first."""
    group = [case.answered[index] for index in decision.group]
    others = _others(case, group)
    extras = [row for row in others if _stands_beside(case, row, group)]
    against = [row for row in others if row not in extras]
    joined = [row for row in [*group, *extras] if row.state != _S.ACCEPTED]
    fallen = [] if decision.asks_referee else [row for row in against if not _has_fallen(case, row)]
    standing = [*group, *extras]
    if decision.asks_referee:
        standing += [row for row in against if row.state == _S.ACCEPTED]
    audited = [row for row in [*joined, *fallen] if _ends_an_audit(row)]
    _accept(case, group, joined, has_new_answer=has_new_answer)
    _refuse(case, fallen, group=group, now=now)
    return Ruling(joined=joined, standing=standing, audits=len(audited))


def _others(case: facts.Case, group: Sequence[Replica]) -> list[Replica]:
    """Return the answers outside the group; what an appeal has decided stays decided."""
    return [
        row
        for row in case.answered
        if row not in group and row.reason != ReplicaReason.APPEAL_UPHELD
    ]


def _stands_beside(case: facts.Case, row: Replica, group: Sequence[Replica]) -> bool:
    """In a race nothing is compared: every valid answer is paid, until its node is caught."""
    if case.chunk.job.mode != Job.Mode.RACE or case.facts.referee is not None:
        return False
    return row.doubted_at is None or agreement.same(
        facts.answer_of(row),
        facts.answer_of(group[0]),
        score_threshold=case.facts.score_threshold,
        kind=case.facts.kind,
    )


def _has_fallen(case: facts.Case, row: Replica) -> bool:
    """Say whether it was refused before, for all that is known now."""
    is_judged = row.reason != ReplicaReason.DISAGREED or case.facts.referee is None
    return row.state == _S.REJECTED and is_judged


def _ends_an_audit(row: Replica) -> bool:
    return row.purpose == Replica.Purpose.AUDIT and row.state == _S.REPORTED


def _accept(
    case: facts.Case, group: Sequence[Replica], joined: Sequence[Replica], *, has_new_answer: bool
) -> None:
    believed = [row for row in group if row.doubted_at is None]
    is_confirmed = len(believed) >= 2 or case.facts.referee is not None
    earned = {
        row.pk: credits.earned_tenths(row, is_confirmed=is_confirmed and row in group)
        for row in {*group, *joined}
    }
    sequences = credits.count(
        model_id=case.chunk.job.model_id,
        gained_tenths={
            row.node_id: earned[row.pk] - row.credited_tenths for row in {*group, *joined}
        },
        answered={row.node_id: credits.paced(row, items=case.chunk.items_count) for row in joined},
    )
    _mark_accepted(joined, earned, sequences)
    later = [row for row in group if row not in joined and earned[row.pk] > row.credited_tenths]
    for row in later:
        Replica.objects.filter(pk=row.pk).update(credited_tenths=earned[row.pk])
    if has_new_answer:
        case.chunk.replicas.filter(is_canonical=True).update(is_canonical=False)
        Replica.objects.filter(pk__in=[row.pk for row in group[:1]]).update(is_canonical=True)


def _mark_accepted(
    joined: Sequence[Replica], earned: Mapping[int, int], sequences: Mapping[str, int]
) -> None:
    """Move the answers to ACCEPTED, each with its own place and credit, in one statement."""
    if not joined:
        return
    moved = Replica.objects.filter(
        pk__in=[row.pk for row in joined], state__in=[_S.REPORTED, _S.REJECTED]
    ).update(
        state=_S.ACCEPTED,
        reason="",
        credited_tenths=Choose(*[When(pk=row.pk, then=Value(earned[row.pk])) for row in joined]),
        sequence=Choose(*[When(pk=row.pk, then=Value(sequences[row.node_id])) for row in joined]),
    )
    assert moved == len(joined), "the chunk is locked"


def _refuse(
    case: facts.Case, fallen: Sequence[Replica], *, group: Sequence[Replica], now: datetime
) -> None:
    """Refuse answers that do not stand; accuse their nodes if the referee says so."""
    if not fallen:
        return
    accepted = [row.pk for row in fallen if row.state == _S.ACCEPTED]
    is_judged = case.facts.referee is not None
    for row_ids, reason in (
        (accepted, ReplicaReason.OVERTURNED),
        (
            [row.pk for row in fallen if row.pk not in accepted],
            ReplicaReason.WRONG if is_judged else ReplicaReason.DISAGREED,
        ),
    ):
        Replica.objects.filter(
            pk__in=row_ids, state__in=[_S.REPORTED, _S.ACCEPTED, _S.REJECTED]
        ).update(state=_S.REJECTED, reason=reason)
    settlement.void(replica_ids=accepted, now=now)
    if is_judged:
        _accuse(case, fallen, group=group, now=now)


def _accuse(
    case: facts.Case, fallen: Sequence[Replica], *, group: Sequence[Replica], now: datetime
) -> None:
    """Strike those whom the referee refuted; a node caught before is not struck again for it.

    Who was nearly right is warned, and has conspired with nobody.
    """
    is_audited = any(row.purpose == Replica.Purpose.AUDIT for row in group)
    undoubted = [row for row in fallen if row.doubted_at is None]
    near = [row for row in undoubted if _is_near(case, row)]
    audited = [row for row in undoubted if is_audited and _was_accepted(row) and row not in near]
    others = [row for row in undoubted if row not in near and row not in audited]
    for cause, rows in (
        (Strike.Cause.NEAR, near),
        (Strike.Cause.AUDIT, audited),
        (Strike.Cause.REFEREE, others),
    ):
        faults.record(replicas=rows, model_id=case.chunk.job.model_id, cause=cause, now=now)
    wrong = [row for row in _others(case, group) if not _is_near(case, row)]
    alike = agreement.groups(
        [facts.answer_of(row) for row in wrong],
        score_threshold=case.facts.score_threshold,
        kind=case.facts.kind,
    )
    faults.keep_apart(
        groups=[[wrong[index] for index in indices] for indices in alike],
        chunk=case.chunk,
        now=now,
    )


def _is_near(case: facts.Case, row: Replica) -> bool:
    """Say whether what differs from the referee is digits only."""
    assert case.facts.referee is not None, "nobody is accused before it has spoken"
    return faults.is_near(
        facts.answer_of(row),
        case.facts.referee,
        score_threshold=case.facts.score_threshold,
        kind=case.facts.kind,
    )


def _was_accepted(row: Replica) -> bool:
    """As read before this ruling."""
    return row.state == _S.ACCEPTED
