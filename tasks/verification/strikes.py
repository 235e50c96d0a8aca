"""What follows when a node is caught: it starts from nothing, and its late answers are doubted.

A strike is a fact that a verdict or a gold picture wrote down; here it is carried out, in a
transaction of its own, because it touches many chunks. Then each of them is decided again:
what others carry stands, the rest is computed anew while its rewards wait.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.db.models import F

from tasks import settlement
from tasks.models import Chunk, Credibility, Replica, Strike
from tasks.verification import terms, verdicts

logger = logging.getLogger(__name__)

#: Strikes carried out in one call.
BATCH_MAX: Final = 20
#: Chunks decided again in one call of `look_again`.
AGAIN_MAX: Final = 500
_S = Replica.State


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
        strike = (
            Strike.objects.select_for_update(of=("self",))
            .filter(pk=strike_id, enforced_at=None)
            .select_related("replica")
            .first()
        )
        if strike is None:
            return None
        chunk_ids = _lock_chunks(strike)
        doubted = _doubt(strike, chunk_ids, now=now)
        settlement.freeze(replica_ids=doubted, now=now)
        _degrade(strike, now=now)
        Chunk.objects.filter(pk__in=chunk_ids).update(stirred_at=now)
        logger.warning(
            "a node was caught", extra={"node_id": strike.node_id, "strike_id": strike.pk}
        )
        return chunk_ids


def _lock_chunks(strike: Strike) -> list[int]:
    """Lock what the node answered and can still change, in order."""
    answered = Replica.objects.filter(
        node=strike.node_id,
        job__model=strike.model_id,
        state__in=[_S.REPORTED, _S.ACCEPTED],
        doubted_at=None,
    )
    return list(
        Chunk.objects.select_for_update(of=("self",), no_key=True)
        .filter(
            pk__in=answered.values("chunk"), state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL]
        )
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def _doubt(strike: Strike, chunk_ids: list[int], *, now: datetime) -> list[int]:
    rows = Replica.objects.filter(
        chunk__in=chunk_ids,
        node=strike.node_id,
        state__in=[_S.REPORTED, _S.ACCEPTED],
        doubted_at=None,
    )
    doubted = list(rows.order_by("pk").values_list("pk", flat=True))
    Replica.objects.filter(pk__in=doubted).update(doubted_at=now)
    return doubted


def _degrade(strike: Strike, *, now: datetime) -> None:
    """Take the node's record for this model, and its right to work if it did so before.

    A strike for an answer given before the last one that counted says nothing new of the
    node: one window of lies, found piece by piece, is one fault.
    """
    assert connection.in_atomic_block
    Credibility.objects.get_or_create(node_id=strike.node_id, model_id=strike.model_id)
    row = Credibility.objects.select_for_update(of=("self",)).get(
        node=strike.node_id, model=strike.model_id
    )
    counted = list(
        Strike.objects.filter(
            node=strike.node_id, model=strike.model_id, is_counted=True, overturned_at=None
        )
        .order_by("created_at", "pk")
        .values_list("created_at", flat=True)
    )
    answered_at = strike.replica.reported_at or strike.created_at
    is_counted = not counted or answered_at > counted[-1]
    lost_tenths = row.checks_tenths
    row.checks_tenths = 0
    if is_counted:
        standing = terms.standing([*counted, strike.created_at])
        row.state = Credibility.State(standing)
        row.struck_at = strike.created_at
        row.barred_until = now + terms.QUARANTINE if standing == "quarantined" else None
        row.strikes = len(counted) + 1
    row.save(update_fields=["checks_tenths", "state", "struck_at", "barred_until", "strikes"])
    Strike.objects.filter(pk=strike.pk).update(
        enforced_at=now, lost_tenths=F("lost_tenths") + lost_tenths, is_counted=is_counted
    )
