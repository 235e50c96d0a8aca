"""How many chunks of one model a node may hold at one time.

Twice as many with each success, a quarter fewer with each failure, never less than one (as
BOINC's daily quota, which likewise grows faster than it shrinks).

So a node that breaks everything it touches costs a chunk now and then, and one that works
well is soon bounded by its slots alone. What is held back shows as the reason `quota`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from django.db import connection
from django.db.models import F, Value
from django.db.models.functions import Greatest, Least

from tasks.models import Credibility, Replica
from tasks.reasons import ReplicaReason

QUOTA_MAX: Final = 2000
#: Doublings after which QUOTA_MAX is reached from 1.
_DOUBLINGS_MAX: Final = 11
#: Ends of a lease that speak against the node; giving back in order does not.
FAILURES: Final = (ReplicaReason.LEASE_EXPIRED, ReplicaReason.NODE_ERROR)


def factor(successes: int) -> int:
    """Return how many times larger a quota is after so many accepted answers."""
    return int(2 ** min(successes, _DOUBLINGS_MAX))


def raised(successes: int) -> Least:
    """Return what the column becomes after so many accepted answers, for an update."""
    return Least(F("quota") * factor(successes), Value(QUOTA_MAX))


def lower(replica_ids: Collection[int]) -> None:
    """Take a quarter, rounded down, for each of these replicas that failed or was lost.

    Runs inside the caller's transaction. Nodes in order, as `verification.credits` locks
    them. A node that is new to the model gets its record by it.
    """
    assert connection.in_atomic_block
    failed = Replica.objects.filter(pk__in=replica_ids, reason__in=FAILURES)
    for model_id, node_id in sorted(failed.values_list("job__model", "node")):
        Credibility.objects.get_or_create(node_id=node_id, model_id=model_id)
        Credibility.objects.filter(node=node_id, model=model_id).update(
            quota=Greatest(F("quota") * 3 / 4, Value(1))
        )
