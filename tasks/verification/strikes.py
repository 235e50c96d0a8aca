"""What follows when a node is caught: it starts from nothing, and its late answers are doubted.

A node that was nearly right is warned the first time (`terms.is_strike`): its answer is
refused and half of its checks are gone; everything else stands.

A strike is a fact that a verdict or a gold picture wrote down; here it is carried out, in a
transaction of its own, because it touches many chunks. Then each of them is decided again:
what others carry stands, the rest is computed anew while its rewards wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.db.models import QuerySet

from tasks import settlement
from tasks.models import Chunk, Credibility, Node, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import terms, verdicts

logger = logging.getLogger(__name__)

#: Strikes carried out in one call.
BATCH_MAX: Final = 20
#: Chunks decided again in one call of `look_again`.
AGAIN_MAX: Final = 500
_S = Replica.State
_RECORD = ["checks_tenths", "state", "struck_at", "barred_until", "strikes"]


def enforce(*, now: datetime) -> int:
    """Carry out strikes that wait; return how many. One query when there is none.

    Any number of processes may call it; each strike is carried out once.
    """
    # Uses index: strike_waiting.
    waiting = list(
        Strike.objects.filter(enforced_at=None)
        .order_by("pk")
        .values_list("pk", flat=True)[:BATCH_MAX]
    )
    done = 0
    for strike_id in waiting:
        chunk_ids = _carry_out(strike_id, now=now)
        if chunk_ids is None:
            continue
        done += 1
        for chunk_id in chunk_ids:
            verdicts.advance(chunk_id=chunk_id, now=now)
    return done


def look_again(*, now: datetime) -> int:
    """Decide chunks about which something new is known and nobody has looked; return how many.

    The process that carried out a strike died before it came to them.
    """
    # Uses index: chunk_stirred.
    stirred = list(
        Chunk.objects.filter(state=Chunk.State.PROVISIONAL, stirred_at__isnull=False)
        .order_by("stirred_at", "pk")
        .values_list("pk", flat=True)[:AGAIN_MAX]
    )
    for chunk_id in stirred:
        verdicts.advance(chunk_id=chunk_id, now=now)
    return len(stirred)


def _carry_out(strike_id: int, *, now: datetime) -> list[int] | None:
    """Doubt what the node answered until now; None when another process was faster."""
    with transaction.atomic():
        strike = Strike.objects.select_related("replica").get(pk=strike_id)
        # Reports of the node are stored under the same lock: none slips through believed.
        _lock_node(strike.node_id)
        if not Strike.objects.filter(pk=strike_id, enforced_at=None).update(enforced_at=now):
            return None
        if not _is_strike(strike):
            _warn(strike)
            return []
        chunk_ids = _lock_chunks(strike)
        doubted = _doubt(strike, chunk_ids, now=now)
        _degrade(strike, now=now)
        settlement.freeze(replica_ids=doubted, now=now)
        logger.warning(
            "a node was caught", extra={"node_id": strike.node_id, "strike_id": strike.pk}
        )
        return chunk_ids


def _is_strike(strike: Strike) -> bool:
    """Look how long ago, in accepted answers, the node was nearly right before."""
    before = (
        Strike.objects.filter(
            node=strike.node_id,
            model=strike.model_id,
            cause=Strike.Cause.NEAR,
            enforced_at__isnull=False,
            overturned_at=None,
        )
        .exclude(pk=strike.pk)
        .order_by("-answers", "-pk")
        .values_list("answers", flat=True)
        .first()
    )
    since = None
    if before is not None:
        known = Credibility.objects.filter(node=strike.node_id, model=strike.model_id)
        since = max(known.values_list("answers", flat=True), default=0) - before
    return terms.is_strike(is_near=strike.cause == Strike.Cause.NEAR, answers_since_near=since)


def _warn(strike: Strike) -> None:
    """Take some of the node's record for this model, and nothing else."""
    row = _lock_record(strike)
    _take_checks(strike, row, is_strike=False)
    row.save(update_fields=_RECORD)
    logger.info(
        "a node was nearly right", extra={"node_id": strike.node_id, "strike_id": strike.pk}
    )


def _take_checks(strike: Strike, row: Credibility, *, is_strike: bool) -> None:
    """Move checks from the record, whose row the caller saves, to what the strike took."""
    lost_tenths = math.ceil(terms.lost(row.checks_tenths, is_strike=is_strike))
    row.checks_tenths -= lost_tenths
    Strike.objects.filter(pk=strike.pk).update(lost_tenths=lost_tenths, answers=row.answers)


def _lock_node(node_id: str) -> None:
    list(Node.objects.select_for_update(of=("self",), no_key=True).filter(pk=node_id))


def _answers_of(strike: Strike) -> QuerySet[Replica]:
    """Return what the node answered and can still change. Uses index: replica_by_node.

    Not what an appeal decided: that is no matter of belief any more.
    """
    return Replica.objects.filter(
        node=strike.node_id,
        job__model=strike.model_id,
        chunk__state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
        state__in=[_S.REPORTED, _S.ACCEPTED],
        doubted_at=None,
    ).exclude(reason=ReplicaReason.APPEAL_UPHELD)


def _lock_chunks(strike: Strike) -> list[int]:
    """Lock the chunks of those answers, in order."""
    return list(
        Chunk.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__in=_answers_of(strike).values("chunk"))
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def _doubt(strike: Strike, chunk_ids: list[int], *, now: datetime) -> list[int]:
    """Let the answers count no longer and their chunks be looked at again; return replicas."""
    rows = _answers_of(strike).filter(chunk__in=chunk_ids)
    doubted = list(rows.order_by("pk").values_list("pk", flat=True))
    Replica.objects.filter(pk__in=doubted).update(doubted_at=now)
    Chunk.objects.filter(pk__in=chunk_ids).update(stirred_at=now)
    return doubted


def _degrade(strike: Strike, *, now: datetime) -> None:
    """Take the node's record for this model, and its right to work if it did so before.

    A strike for an answer given before the last one that counted says nothing new of the
    node: one window of lies, found piece by piece, is one fault.
    """
    row = _lock_record(strike)
    counted = _counted(strike)
    answered_at = strike.replica.reported_at or strike.created_at
    is_counted = not counted or answered_at > counted[-1].at
    _take_checks(strike, row, is_strike=True)
    if is_counted:
        _sentence(row, [*counted, _struck(strike, answers=row.answers)], now=now)
    row.save(update_fields=_RECORD)
    Strike.objects.filter(pk=strike.pk).update(is_counted=is_counted)


def _lock_record(strike: Strike) -> Credibility:
    """Lock what is believed of the node, which its row may be written under."""
    assert connection.in_atomic_block
    Credibility.objects.get_or_create(node_id=strike.node_id, model_id=strike.model_id)
    return Credibility.objects.select_for_update(of=("self",)).get(
        node=strike.node_id, model=strike.model_id
    )


def _counted(strike: Strike) -> list[terms.Struck]:
    """Return the node's strikes for this model that count against it, the newest last."""
    rows = Strike.objects.filter(
        node=strike.node_id, model=strike.model_id, is_counted=True, overturned_at=None
    )
    return [_struck(row, answers=row.answers) for row in rows.order_by("created_at", "pk")]


def _struck(strike: Strike, *, answers: int) -> terms.Struck:
    return terms.Struck(
        at=strike.created_at, answers=answers, is_near=strike.cause == Strike.Cause.NEAR
    )


def _sentence(row: Credibility, struck: list[terms.Struck], *, now: datetime) -> None:
    """Set state, bar and counters of a node that has these strikes, the newest last."""
    row.strikes = len(struck)
    row.struck_at = struck[-1].at if struck else None
    row.barred_until = None
    row.state = Credibility.State.PROBATION
    if struck:
        standing = terms.standing(struck)
        row.state = Credibility.State(standing)
        if standing == "quarantined":
            row.barred_until = now + terms.QUARANTINE


def overturn(*, replica_id: int, now: datetime) -> bool:
    """Take a refusal back: an appeal was upheld. Say whether there was one to take back.

    The answer is accepted after all, whatever the chunk's result is, the strike counts no
    longer, and the node gets back the checks it lost; its answers that the strike threw doubt
    on are believed again. Paying is the caller's, in the same transaction, which this runs
    inside; the sweeps decide the chunks again (`Chunk.stirred_at`).
    """
    assert connection.in_atomic_block
    row = Replica.objects.filter(pk=replica_id).values_list("node", "chunk").first()
    if row is None:
        return False
    node_id, chunk_id = row
    _lock_node(node_id)
    strike = Strike.objects.filter(replica=replica_id, overturned_at=None).first()
    chunk_ids = {chunk_id, *(_doubted_chunks(strike) if strike else ())}
    list(
        Chunk.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__in=chunk_ids)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    moved = Replica.objects.filter(pk=replica_id, state=_S.REJECTED).update(
        state=_S.ACCEPTED, reason=ReplicaReason.APPEAL_UPHELD, doubted_at=None
    )
    if moved:
        _stir([chunk_id], now=now)
        if strike is not None:
            _restore(strike, now=now)
    return moved == 1


def _stir(chunk_ids: Sequence[int], *, now: datetime) -> None:
    """Let accepted chunks be decided again."""
    Chunk.objects.filter(pk__in=chunk_ids, state=Chunk.State.PROVISIONAL).update(stirred_at=now)


def _doubted_by(strike: Strike) -> QuerySet[Replica]:
    """Return unsettled answers that this strike threw doubt on."""
    return Replica.objects.filter(
        node=strike.node_id,
        job__model=strike.model_id,
        chunk__state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
        doubted_at=strike.enforced_at,
    )


def _doubted_chunks(strike: Strike) -> list[int]:
    if strike.enforced_at is None or strike.is_warning:
        return []
    return list(_doubted_by(strike).values_list("chunk", flat=True))


def _quarantined_at(strike: Strike) -> datetime | None:
    """Return since when staff do not believe the node, whatever its strikes."""
    node = Node.objects.get(pk=strike.node_id)
    record = Credibility.objects.filter(node=node, model=strike.model_id).first()
    return node.quarantined_at or (record.quarantined_at if record else None)


def _restore(strike: Strike, *, now: datetime) -> None:
    """Undo what the strike did. One not enforced yet never will be."""
    chunk_ids = _doubted_chunks(strike)
    if chunk_ids:
        believed = _doubted_by(strike).filter(state__in=[_S.REPORTED, _S.ACCEPTED])
        believed.update(doubted_at=_quarantined_at(strike))
        _stir(chunk_ids, now=now)
    Strike.objects.filter(pk=strike.pk).update(
        overturned_at=now, enforced_at=strike.enforced_at or now
    )
    if strike.enforced_at is None:
        return
    row = _lock_record(strike)
    row.checks_tenths += strike.lost_tenths
    if strike.is_counted:
        _sentence(row, _counted(strike), now=now)
    row.save(update_fields=_RECORD)
