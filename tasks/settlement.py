"""The only place where work meets money: hold, reward, return.

Everything here runs inside the caller's transaction, so a verdict and its payment happen
together or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from payments import ledger, retired, rewards
from tasks.models import Chunk, Job, Replica

#: How long the reward of work cut short stays pending.
HOLD_WINDOW = timedelta(days=7)
JOB = "job"

#: What the client bought; checks are the platform's own care, and so is their cost.
BOUGHT = (Replica.Purpose.WORK, Replica.Purpose.RACE)

Purse = Literal["escrow", "reserve"]


def hold_price(*, job: Job, now: datetime) -> None:
    """Set the job's whole price aside from its owner's balance.

    Raises:
        payments.ledger.InsufficientFunds: the owner has less.
    """
    ledger.hold(
        owner_id=job.owner_id,
        ref_type=JOB,
        ref_id=job.pk,
        amount_minor=job.price_minor,
        now=now,
    )


def reward(
    *,
    chunk: Chunk,
    replicas: Sequence[Replica],
    planned: int,
    matures_at: datetime,
    now: datetime,
) -> None:
    """Record what each of `replicas` earned for a decided chunk, available at `matures_at`.

    Who pays is said by `paid_from`. A replica is paid once, however often this is called;
    one whose reward was voided meanwhile is paid again, from the reserve.
    """
    if chunk.decided_at is not None:  # nothing was ever voided before the first decision
        rewards.pay_again(replica_ids=_names(replicas), due_at=matures_at, now=now)
    ledger.record_intents(_intents(replicas, planned=planned, matures_at=matures_at), now=now)


@dataclass(frozen=True, kw_only=True)
class Earned:
    """What the replicas of one chunk earned; see `reward`."""

    replicas: Sequence[Replica]
    planned: int
    matures_at: datetime


def reward_first(earned: Sequence[Earned], *, now: datetime) -> None:
    """Record the rewards of many chunks that are decided for the first time, at once."""
    ledger.record_intents(
        [
            intent
            for each in earned
            for intent in _intents(each.replicas, planned=each.planned, matures_at=each.matures_at)
        ],
        now=now,
    )


def _intents(
    replicas: Sequence[Replica], *, planned: int, matures_at: datetime
) -> list[ledger.Intent]:
    return [
        intent
        for replica, purse in zip(replicas, paid_from(replicas, planned=planned), strict=True)
        for intent in ledger.reward_intents(
            job_id=replica.job_id,
            replica_id=str(replica.pk),
            operator_id=replica.operator_id,
            reward_minor=replica.reward_minor,
            fee_minor=replica.fee_minor,
            funded_by=purse,
            due_at=matures_at,
            earned_by=replica.node_id,
        )
    ]


def paid_from(replicas: Sequence[Replica], *, planned: int) -> list[Purse]:
    """Say who pays each of `replicas`, in their order. Pure.

    The first `planned` that the client bought are paid from the job's own money. Audits,
    rechecks, hedges and smoke tests, and further answers (after a disagreement, or once the
    rest of the hold was returned: `planned` is 0 then) are paid from the platform's
    reserve: the client never pays more than was quoted.
    """
    purses = list[Purse]()
    left = planned
    for replica in replicas:
        is_bought = replica.purpose in BOUGHT and left > 0
        left -= int(is_bought)
        purses.append("escrow" if is_bought else "reserve")
    return purses


def freeze(*, replica_ids: Collection[int], now: datetime) -> int:
    """Keep the rewards of these replicas from being paid out; return how many were stopped."""
    return rewards.freeze(replica_ids=[str(pk) for pk in replica_ids], now=now)


def unfreeze(*, replica_ids: Collection[int], now: datetime) -> int:  # noqa: ARG001  # as its siblings
    """Let frozen rewards go on to their day; return how many."""
    return rewards.unfreeze(replica_ids=[str(pk) for pk in replica_ids])


def postpone(*, replica_ids: Collection[int], due_at: datetime, now: datetime) -> int:  # noqa: ARG001  # as its siblings
    """Set the day from which rewards not paid out yet are available; return how many moved."""
    return rewards.postpone(replica_ids=[str(pk) for pk in replica_ids], due_at=due_at)


def void(*, replica_ids: Collection[int], now: datetime) -> list[int]:
    """Take back rewards that are not available yet; return the replicas for which it is too late."""
    outcomes = rewards.void(replica_ids=[str(pk) for pk in replica_ids], now=now)
    return [int(name) for name, outcome in outcomes.items() if outcome == "matured"]


def has_waiting(*, replica_ids: Collection[int]) -> bool:
    """Say whether money of these replicas is still on its way."""
    return retired.has_waiting(replica_ids=[str(pk) for pk in replica_ids])


def export_posted(*, replica_ids: Collection[int]) -> list[dict[str, Any]]:
    """Return the posted rows that `remove_posted` would remove."""
    return retired.export(replica_ids=[str(pk) for pk in replica_ids])


def remove_posted(*, replica_ids: Collection[int]) -> int:
    """Remove posted rewards and fees of archived replicas; return how many rows."""
    return retired.remove(replica_ids=[str(pk) for pk in replica_ids])


def close(*, job_id: str, now: datetime) -> int:
    """Pay what is still owed from the job's hold and return the rest; minor units returned."""
    return ledger.release_hold(ref_type=JOB, ref_id=job_id, now=now)


def _names(replicas: Sequence[Replica]) -> list[str]:
    return [str(replica.pk) for replica in replicas]
