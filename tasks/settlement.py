"""The only place where work meets money: hold, reward, return.

Everything here runs inside the caller's transaction, so a verdict and its payment happen
together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from payments import ledger
from tasks.models import Chunk, Job, Replica

#: How long a reward stays pending: wrong work found in this time is not paid out.
HOLD_WINDOW = timedelta(days=7)
JOB = "job"


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


def reward(*, chunk: Chunk, replicas: Sequence[Replica], planned: int, now: datetime) -> None:
    """Record what each of `replicas` earned for a decided chunk.

    The first `planned` are paid from the job's own money, further ones (asked for after a
    disagreement or a lost lease) from the platform's reserve: the client never pays more
    than was quoted.
    """
    intents = [
        intent
        for place, replica in enumerate(replicas)
        for intent in ledger.reward_intents(
            job_id=chunk.job_id,
            replica_id=str(replica.pk),
            operator_id=replica.operator_id,
            reward_minor=replica.reward_minor,
            fee_minor=replica.fee_minor,
            funded_by="escrow" if place < planned else "reserve",
            due_at=now + HOLD_WINDOW,
            earned_by=replica.node_id,
        )
    ]
    ledger.record_intents(intents, now=now)


def close(*, job_id: str, now: datetime) -> int:
    """Pay what is still owed from the job's hold and return the rest; minor units returned."""
    return ledger.release_hold(ref_type=JOB, ref_id=job_id, now=now)
