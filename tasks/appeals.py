"""An operator's word against a refusal: the referee looks first, then staff.

Once a replica. Who was right is paid from the reserve, the strike counts no more, and the
node is believed as it was before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction

from tasks import dispatch, settlement
from tasks.errors import Refused
from tasks.models import Appeal, Chunk, Replica, Strike
from tasks.reasons import ChunkReason, ReplicaReason
from tasks.verification import agreement, strikes, verdicts

logger = logging.getLogger(__name__)

#: After the answer came, if its result is settled by then.
WINDOW: Final = timedelta(days=30)
#: Appeals of one operator that wait: each may cost the referee a chunk.
OPEN_MAX: Final = 20
TEXT_LENGTH_MAX: Final = 1000
NOTE_LENGTH_MAX: Final = 500
#: The referee is asked about a settled chunk again after this time.
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)
#: Appeals looked at in one sweep.
BATCH_MAX: Final = 100
OPEN: Final = (Appeal.State.REFEREE, Appeal.State.STAFF)


class NotRefused(Refused):
    """Only work that was refused can be appealed."""

    code, status = "not_refused", 409


class AlreadyAppealed(Refused):
    """There is one appeal for each piece of work."""

    code, status = "already_appealed", 409


class TooLate(Refused):
    """The result is settled and the time to appeal is over."""

    code, status = "too_late", 409


class TooManyAppeals(Refused):
    """The operator has as many appeals waiting as is allowed."""

    code, status = "too_many_appeals", 409


class Decided(Refused):
    """The appeal has been decided before."""

    code, status = "wrong_state", 409


def lodge(*, replica_id: int, operator_id: int, text: str, now: datetime) -> Appeal:
    """Appeal against the refusal of one's own work.

    The referee is asked unless it has spoken before; then staff decide at once.

    Raises:
        NotRefused, AlreadyAppealed, TooLate, TooManyAppeals: nothing was changed.
    """
    with transaction.atomic(durable=True):
        replica = _lock(replica_id)
        _check(replica, operator_id=operator_id, now=now)
        is_for_referee = (
            replica.answer is not None
            and replica.reason != ReplicaReason.GOLD_FAILED  # measured by the referee's own answer
            and replica.chunk.referee_at is None
        )
        appeal, is_new = Appeal.objects.get_or_create(
            replica=replica,
            defaults={
                "operator_id": operator_id,
                "text": text.strip()[:TEXT_LENGTH_MAX],
                "state": Appeal.State.REFEREE if is_for_referee else Appeal.State.STAFF,
                "created_at": now,
            },
        )
        if not is_new:
            raise AlreadyAppealed("This work was appealed before.")
        if is_for_referee:
            _ask_referee(replica.chunk_id, now=now)
    logger.info("appeal lodged", extra={"replica_id": replica_id})
    return appeal


def may_be_lodged(replica: Replica, *, now: datetime) -> bool:
    """Say whether there is still time; whether it was appealed before is asked elsewhere."""
    answered_at = replica.reported_at or replica.assigned_at
    can_change = replica.chunk.state in (Chunk.State.OPEN, Chunk.State.PROVISIONAL)
    return replica.state == Replica.State.REJECTED and (can_change or now <= answered_at + WINDOW)


def follow(*, now: datetime) -> int:
    """Take up what the referee has answered, and ask again where it has not; return decided.

    Run by sweeps. An operator whom the referee confirms needs no staff.
    """
    waiting = list(
        # Uses index: appeal_open.
        Appeal.objects.filter(state=Appeal.State.REFEREE)
        .select_related("replica__chunk")
        .order_by("created_at", "pk")[:BATCH_MAX]
    )
    answered = [each for each in waiting if each.replica.chunk.referee_at is not None]
    with transaction.atomic():
        for appeal in waiting:
            asked_at = appeal.replica.chunk.referee_asked_at
            if appeal not in answered and (asked_at is None or asked_at < now - ASK_AGAIN_AFTER):
                _ask_referee(appeal.replica.chunk_id, now=now)
    for appeal in answered:
        _take_up(appeal.pk, now=now)
    return len(answered)


def uphold(*, appeal_id: int, staff_id: int, note: str, now: datetime) -> Appeal:
    """Let the operator be right: pay, take the strike back, believe the node as before.

    Raises:
        Decided: it was decided before; nothing was changed.
    """
    with transaction.atomic(durable=True):
        appeal = _close(appeal_id, Appeal.State.UPHELD, staff_id=staff_id, note=note, now=now)
        _restore(appeal.replica_id, now=now)
    verdicts.advance(chunk_id=appeal.replica.chunk_id, now=now)
    return appeal


def deny(*, appeal_id: int, staff_id: int, note: str, now: datetime) -> Appeal:
    """Let the refusal stand.

    Raises:
        Decided: it was decided before; nothing was changed.
    """
    with transaction.atomic(durable=True):
        return _close(appeal_id, Appeal.State.DENIED, staff_id=staff_id, note=note, now=now)


def _lock(replica_id: int) -> Replica:
    """Read the replica under its chunk's lock, as verdicts do."""
    chunk_id = Replica.objects.values_list("chunk_id", flat=True).get(pk=replica_id)
    list(Chunk.objects.select_for_update(of=("self",)).filter(pk=chunk_id))
    return Replica.objects.select_related("chunk", "job").get(pk=replica_id)


def _check(replica: Replica, *, operator_id: int, now: datetime) -> None:
    if Appeal.objects.filter(replica=replica).exists():
        raise AlreadyAppealed("This work was appealed before.")
    if replica.state != Replica.State.REJECTED:
        raise NotRefused("This work was not refused.")
    if not may_be_lodged(replica, now=now):
        raise TooLate(f"Settled work can be appealed for {WINDOW.days} days.")
    if Appeal.objects.filter(operator=operator_id, state__in=OPEN).count() >= OPEN_MAX:
        raise TooManyAppeals(f"At most {OPEN_MAX} appeals wait at one time.")


def _ask_referee(chunk_id: int, *, now: datetime) -> None:
    Chunk.objects.filter(pk=chunk_id, referee_at=None).update(referee_asked_at=now)
    dispatch.referee(chunk_id=chunk_id)


def _take_up(appeal_id: int, *, now: datetime) -> None:
    """Uphold what the referee confirms; hand the rest to staff."""
    with transaction.atomic(durable=True):
        appeal = Appeal.objects.select_related("replica__chunk", "replica__job").get(pk=appeal_id)
        if _is_right(appeal.replica):
            _close(appeal_id, Appeal.State.UPHELD, staff_id=None, note="", now=now)
            _restore(appeal.replica_id, now=now)
        else:
            Appeal.objects.filter(pk=appeal_id, state=Appeal.State.REFEREE).update(
                state=Appeal.State.STAFF
            )
    verdicts.advance(chunk_id=appeal.replica.chunk_id, now=now)


def _is_right(replica: Replica) -> bool:
    """Say whether the referee's answer, or a verdict made with it, confirms the node's."""
    if replica.state == Replica.State.ACCEPTED:
        return True
    referee = replica.chunk.referee_answer
    if referee is None or replica.answer is None:
        return False
    return agreement.same(
        _answer(replica.answer),
        _answer(referee),
        score_threshold=replica.job.score_threshold,
        kind=replica.job.kind,
    )


def _answer(stored: Sequence[Sequence[Sequence[float]]]) -> list[list[tuple[float, ...]]]:
    return [[tuple(found) for found in picture] for picture in stored]


def _close(
    appeal_id: int, state: Appeal.State, *, staff_id: int | None, note: str, now: datetime
) -> Appeal:
    closed = Appeal.objects.filter(pk=appeal_id, state__in=OPEN).update(
        state=state,
        decided_at=now,
        decided_by_id=staff_id,
        note=note.strip()[:NOTE_LENGTH_MAX],
    )
    if not closed:
        raise Decided("This appeal has been decided.")
    logger.info("appeal %s", state, extra={"appeal_id": appeal_id})
    return Appeal.objects.select_related("replica").get(pk=appeal_id)


def _restore(replica_id: int, *, now: datetime) -> None:
    """Accept the answer after all, pay it, and free what its strike had frozen."""
    assert connection.in_atomic_block
    doubted = _doubted_by_its_strike(replica_id)
    strikes.overturn(replica_id=replica_id, now=now)
    replica = Replica.objects.select_related("chunk").get(pk=replica_id)
    settles_at = replica.chunk.settles_at
    settlement.reward(
        chunk=replica.chunk,
        replicas=[replica],
        planned=0,
        matures_at=max(now, settles_at) if settles_at else now,
        now=now,
    )
    believed = Replica.objects.filter(
        pk__in=[replica_id, *doubted], state=Replica.State.ACCEPTED, doubted_at=None
    ).exclude(chunk__reason=ChunkReason.RECHECKING)
    settlement.unfreeze(replica_ids=list(believed.values_list("pk", flat=True)), now=now)


def _doubted_by_its_strike(replica_id: int) -> list[int]:
    """Return the node's answers that were doubted when this one was struck."""
    strike = Strike.objects.filter(replica=replica_id, enforced_at__isnull=False).first()
    if strike is None or strike.is_warning:
        return []
    return list(
        Replica.objects.filter(
            node=strike.node_id, job__model=strike.model_id, doubted_at=strike.enforced_at
        ).values_list("pk", flat=True)
    )
