"""Carry out the policy's decision on a chunk: results, money, trust, the job's end.

A chunk is open, then provisional (its items have results, its nodes are paid into their
pending), then final (`finality`). While provisional it is decided again with every new fact:
a late answer, an audit, a node caught, the referee's word. While its result is in question
it neither settles nor pays anything out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from tasks import dispatch, events, settlement
from tasks.models import Chunk, Job, Replica
from tasks.reasons import ChunkReason, EventCode, ReplicaReason
from tasks.verification import acceptance, agreement, facts, outcomes, rulings, smoke, terms

_S = Replica.State
_P = Replica.Purpose
#: Their work is wanted although the chunk is accepted.
_WORK_ON = (_P.AUDIT, _P.SMOKE)


@dataclasses.dataclass(kw_only=True)
class _Changes:
    """What a verdict changes on the chunk and counts on its job, written once at its end."""

    chunk: dict[str, Any] = dataclasses.field(default_factory=dict)
    job: Counter[str] = dataclasses.field(default_factory=Counter)


def advance(*, chunk_id: int, now: datetime) -> acceptance.Decision | None:
    """Decide a chunk from its facts; called as often as anybody likes.

    One short transaction: lock the chunk, read its replicas, apply the policy. The same
    facts always lead to the same rows. None when the chunk is settled, failed or cancelled.
    Everything else in the system only inserts facts.
    """
    with transaction.atomic():
        chunk = (
            Chunk.objects.select_for_update(of=("self",))
            .select_related("job__model")
            .filter(pk=chunk_id, state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL])
            .first()
        )
        if chunk is None:
            return None
        case = facts.read(chunk, now=now)
        decision = acceptance.decide(case.facts)
        changes = _Changes()
        match decision.action:
            case "accept" if not _waits_for_referee(case, decision):
                _accept(case, decision, changes, now=now)
            case "fail":
                _fail(case, decision, changes, now=now)
            case _:
                _go_on(case, decision, changes, now=now)
        _write(chunk, changes, now=now)
        smoke.conclude(chunk=chunk, now=now)
        return decision


def _waits_for_referee(case: facts.Case, decision: acceptance.Decision) -> bool:
    """What the client was given changes only after the referee has spoken, or failed to."""
    return decision.asks_referee and not case.is_open and _new_answer(case, decision) is not None


def _new_answer(case: facts.Case, decision: acceptance.Decision) -> agreement.Answer | None:
    """Return the answer to give to the client; None when the one that was given stands."""
    group = [case.answered[index] for index in decision.group]
    canonical = case.canonical
    if not case.is_open and (canonical is None or canonical in group):
        return None
    if not group:
        return case.facts.referee
    answer = facts.answer_of(group[0])
    if canonical is not None and agreement.same(
        facts.answer_of(canonical),
        answer,
        score_threshold=case.facts.score_threshold,
        kind=case.facts.kind,
    ):
        return None
    return answer


def _go_on(
    case: facts.Case, decision: acceptance.Decision, changes: _Changes, *, now: datetime
) -> None:
    """Ask more nodes or the referee, or wait; an accepted result is in question meanwhile."""
    is_for_referee = decision.action in {"referee", "accept"}
    if is_for_referee:
        _ask_referee(case.chunk, changes, now=now)
    if decision.is_disagreement:
        _note_disagreement(case.chunk, changes, now=now)
    if not case.is_open:
        _question(case, changes, now=now)
        changes.chunk["purpose"] = _P.RECHECK
    missing = 0 if is_for_referee else decision.missing
    _set_slots(case, changes, running=len(case.running), missing=missing)


def _accept(
    case: facts.Case, decision: acceptance.Decision, changes: _Changes, *, now: datetime
) -> None:
    """Let the group's answer stand, provisionally."""
    late = case.overtaken
    spare = [row for row in case.running if row.purpose not in _WORK_ON and row not in late]
    # Whether it is audited must not hang on who happens to be at work.
    if spare or (late and case.is_open):
        decision = acceptance.decide(dataclasses.replace(case.facts, running=()))
    answer = _new_answer(case, decision)
    _withdraw(spare)
    ruling = rulings.carry_out(case, decision, has_new_answer=answer is not None, now=now)
    changes.job["audits"] += ruling.audits
    if decision.is_disagreement:
        _note_disagreement(case.chunk, changes, now=now)
    if decision.asks_referee:
        _ask_referee(case.chunk, changes, now=now)
    if answer is not None:
        _give_result(case, answer, changes, had_audit=ruling.audits > 0, now=now)
    if decision.missing:
        changes.chunk["purpose"] = _P.AUDIT
    _set_slots(case, changes, running=len(case.running) - len(spare), missing=decision.missing)
    _settle_up(case, ruling, spare, changes, is_questioned=decision.asks_referee, now=now)


def _give_result(
    case: facts.Case,
    answer: agreement.Answer,
    changes: _Changes,
    *,
    had_audit: bool,
    now: datetime,
) -> None:
    """Write the items' results; a correction is never silent."""
    outcomes.write(case.chunk, answer, now=now)
    changes.chunk |= {"state": Chunk.State.PROVISIONAL, "decided_at": now}
    if case.is_open:
        changes.job["items_provisional"] += case.chunk.items_count
        return
    changes.job["corrections"] += 1
    changes.job["audits_failed"] += int(had_audit)
    _tell(case.chunk, EventCode.RESULT_CORRECTED, now=now)


def _settle_up(
    case: facts.Case,
    ruling: rulings.Ruling,
    spare: Sequence[Replica],
    changes: _Changes,
    *,
    is_questioned: bool,
    now: datetime,
) -> None:
    """Pay whom the ruling accepted, and say when the result and its rewards settle.

    The client's own money pays what was planned of the work that led to the first result;
    whatever comes after is the platform's care, and so is its cost.
    """
    chunk, checks = case.chunk, ruling.believed_checks
    was_questioned = chunk.reason == ChunkReason.RECHECKING
    settles_at = chunk.settles_at
    if settles_at is None or was_questioned:
        settles_at = now + terms.window(checks)
    matures_at = settles_at
    if len(checks) == 1 and case.facts.referee is None:
        matures_at = max(settles_at, now + terms.HOLD_MAX)
    settlement.reward(
        chunk=chunk,
        replicas=[*ruling.joined, *spare],
        planned=chunk.job.replicas_planned if case.is_open else 0,
        matures_at=matures_at,
        now=now,
    )
    standing = [row.pk for row in ruling.standing]
    if not case.is_open and (ruling.joined or was_questioned):
        settlement.postpone(replica_ids=standing, due_at=matures_at, now=now)
    if is_questioned:
        settlement.freeze(replica_ids=standing, now=now)
    elif was_questioned or any(row.doubted_at is not None for row in ruling.standing):
        # What others carry is right, whoever said it first.
        settlement.unfreeze(replica_ids=standing, now=now)
    changes.chunk |= {
        "settles_at": settles_at,
        "reason": ChunkReason.RECHECKING if is_questioned else "",
    }


def _fail(
    case: facts.Case, decision: acceptance.Decision, changes: _Changes, *, now: datetime
) -> None:
    """Give the chunk up: nodes do not agree and the referee cannot tell.

    Nobody knows who is right, so no answer is paid but work cut short is. Of a result that
    had been accepted, those keep their reward whose nodes were never caught.
    """
    chunk = case.chunk
    refused = [row for row in case.answered if row.state == _S.REPORTED]
    doubted = [
        row for row in case.answered if row.state == _S.ACCEPTED and row.doubted_at is not None
    ]
    _refuse(refused, ReplicaReason.DISAGREED)
    _refuse(doubted, ReplicaReason.OVERTURNED)
    settlement.void(replica_ids=[row.pk for row in doubted], now=now)
    settlement.unfreeze(
        replica_ids=[
            row.pk for row in case.answered if row.state == _S.ACCEPTED and row not in doubted
        ],
        now=now,
    )
    _withdraw(case.running)
    settlement.reward(
        chunk=chunk,
        replicas=case.running,
        planned=0,
        matures_at=now + terms.HOLD_MAX,
        now=now,
    )
    outcomes.erase(chunk, now=now)
    if decision.is_disagreement:
        _note_disagreement(chunk, changes, now=now)
    changes.job["items_failed"] += chunk.items_count
    if case.is_open:
        code = EventCode.CHUNK_FAILED
    else:
        code = EventCode.RESULT_WITHDRAWN
        changes.job["items_provisional"] -= chunk.items_count
    _tell(chunk, code, reason=decision.reason, now=now)
    changes.chunk |= {
        "state": Chunk.State.FAILED,
        "reason": ChunkReason(decision.reason),
        "decided_at": now,
    }


def _refuse(rows: Sequence[Replica], reason: ReplicaReason) -> None:
    Replica.objects.filter(pk__in=[row.pk for row in rows]).update(state=_S.REJECTED, reason=reason)


def _withdraw(spare: Sequence[Replica]) -> None:
    """End the leases that are no longer needed; their nodes are told after commit."""
    if spare:
        row_ids = [row.pk for row in spare]
        Replica.objects.filter(pk__in=row_ids).update(
            state=_S.CANCELLED, reason=ReplicaReason.NOT_NEEDED
        )
        dispatch.withdraw(replica_ids=row_ids)


def _ask_referee(chunk: Chunk, changes: _Changes, *, now: datetime) -> None:
    if chunk.referee_asked_at is None:
        changes.chunk["referee_asked_at"] = now
        dispatch.referee(chunk_id=chunk.pk)


def _note_disagreement(chunk: Chunk, changes: _Changes, *, now: datetime) -> None:
    if chunk.disagreed_at is None:
        changes.chunk["disagreed_at"] = now
        changes.job["disagreements"] += 1
        _tell(chunk, EventCode.DISAGREEMENT, now=now)


def _question(case: facts.Case, changes: _Changes, *, now: datetime) -> None:
    """Call an accepted result into question: nothing it earned is paid out meanwhile."""
    if case.chunk.reason == ChunkReason.RECHECKING:
        return
    settlement.freeze(
        replica_ids=[
            row.pk
            for row in case.answered
            if row.state == _S.ACCEPTED and row.reason != ReplicaReason.APPEAL_UPHELD
        ],
        now=now,
    )
    changes.chunk |= {
        "reason": ChunkReason.RECHECKING,
        "rechecks": case.chunk.rechecks + 1,
    }
    _tell(case.chunk, EventCode.RECHECKING, now=now)


def _set_slots(case: facts.Case, changes: _Changes, *, running: int, missing: int) -> None:
    """Want exactly what is missing; a smoke test keeps the three it wants."""
    present = running + len(case.answered)
    wanted = present + missing
    if case.chunk.purpose == _P.SMOKE and case.chunk.job.smoke == Job.Smoke.RUNNING:
        wanted = max(wanted, case.chunk.wanted)
    changes.chunk |= {"granted": present, "wanted": wanted}


def _write(chunk: Chunk, changes: _Changes, *, now: datetime) -> None:
    """Write what differs, the chunk before the job; deciding again writes nothing."""
    changed = {
        name: value
        for name, value in {**changes.chunk, "stirred_at": None}.items()
        if getattr(chunk, name) != value
    }
    if changed:
        written = Chunk.objects.filter(pk=chunk.pk, state=chunk.state).update(**changed)
        assert written == 1, "the row is locked"
    outcomes.count(job_id=chunk.job_id, counts=changes.job, now=now)


def _tell(chunk: Chunk, code: EventCode, *, now: datetime, **detail: str) -> None:
    events.record(job_id=chunk.job_id, code=code, detail={"chunk": chunk.index, **detail}, now=now)
