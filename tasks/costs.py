"""What a job will likely cost, beside what it may cost at most.

The maximum is held: a chunk by fresh nodes, each of which another must confirm. A node with
a record is believed sooner, so with such nodes about less is spent, and the rest returns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from tasks.models import Credibility, Node
from tasks.verification import acceptance

#: Nodes with a record looked at; of a larger fleet these are sample enough.
NODES_MAX = 5000


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """How many answers a chunk will need, as the fleet is now."""

    #: Mean over the nodes that a chunk may go to first.
    replicas: float
    #: Share of them whose answer needs no second one, 0..1.
    believed_share: float


def expect(*, target_error: str, mode: str, checks_tenths: Mapping[int, int]) -> Outlook:
    """Look ahead over nodes counted by their checks, in tenths. Pure.

    Each chunk goes to one node first and then to as many fresh ones as that one's record
    leaves open. Without any node the maximum is expected.
    """
    nodes = sum(checks_tenths.values())
    most = acceptance.planned_replicas(target_error=target_error, mode=mode)
    if nodes == 0:
        return Outlook(replicas=float(most), believed_share=0.0)
    needed = Counter[int]()
    for tenths, count in checks_tenths.items():
        more = acceptance.missing(target_error=target_error, mode=mode, checks=[tenths / 10])
        needed[min(most, 1 + more)] += count
    return Outlook(
        replicas=sum(replicas * count for replicas, count in needed.items()) / nodes,
        believed_share=needed[1] / nodes,
    )


def records(*, model_id: str, nodes: QuerySet[Node], now: datetime) -> Counter[int]:
    """Count the nodes by their checks for the model, in tenths; two queries.

    Those that may not work for now, because they were caught or staff say so, are left out.
    """
    known = list(
        Credibility.objects.filter(model=model_id, node__in=nodes)
        .order_by("pk")
        .values_list("checks_tenths", "state", "barred_until", "quarantined_at")[:NODES_MAX]
    )
    counted = Counter(
        tenths
        for tenths, state, until, quarantined_at in known
        if state != Credibility.State.BANNED
        and (until is None or until <= now)
        and quarantined_at is None
    )
    counted[0] += max(0, nodes.count() - len(known))
    return +counted


def expected_minor(*, price_minor: int, replicas_planned: int, outlook: Outlook) -> int:
    """Return what will likely be spent of a price for `replicas_planned`, rounded up. Pure."""
    return min(price_minor, math.ceil(price_minor * outlook.replicas / replicas_planned))
