"""Make the broker agree with what a node's row says of it: in, out for now, out for good.

Note [Cutting a node off]: three steps, in this order. The row says no (committed), so the
authority refuses new logins; the node's connections are limited to none, so that no answer
already given lets it in; the open connections are closed, because a channel that is open
asks nobody. Any one of them alone leaves a way.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from tasks import broker, queues
from tasks.models import Node

logger = logging.getLogger(__name__)

#: Rows that change again and again while the broker is told are left to the next sweep.
ROUNDS_MAX = 3
#: Until then whoever changed the row is expected to tell the broker.
LATE_AFTER = timedelta(seconds=10)
#: Nodes one sweep brings up to date.
SWEEP_MAX = 100


def enforce(*, node_id: str) -> None:
    """Carry out the node's row at the broker, connections closed first; again is harmless.

    A row that changed meanwhile is carried out too, so the last state always wins.

    Raises:
        tasks.broker.BrokerUnavailable: call again.
    """
    for _ in range(ROUNDS_MAX):
        node = Node.objects.get(pk=node_id)
        if node.state == Node.State.RETIRED:
            broker.revoke_node(node_id=node_id)
        else:
            broker.shut_out_node(node_id=node_id)
        if node.state in {Node.State.ACTIVE, Node.State.PAUSED}:
            broker.admit_node(
                node_id=node_id,
                kinds=queues.NODE_KINDS,
                password_hash=node.broker_password_hash,
            )
        unchanged = Node.objects.filter(
            pk=node_id, state=node.state, broker_password_hash=node.broker_password_hash
        )
        if unchanged.update(broker_behind_since=None):
            return
    logger.warning("the node's row keeps changing", extra={"node_id": node_id})


def restore_queue(*, node_id: str) -> bool:
    """Make the queue of a node that was away until it expired; say whether it was gone.

    Raises:
        tasks.broker.BrokerUnavailable: its next heartbeat asks again.
    """
    admitted = Node.objects.filter(pk=node_id, state__in=[Node.State.ACTIVE, Node.State.PAUSED])
    if not admitted.exists():
        return False
    was_made = broker.restore_node(node_id=node_id, kinds=queues.NODE_KINDS)
    if was_made:
        logger.info("queue made again", extra={"node_id": node_id})
    return was_made


def enforce_behind(*, now: datetime) -> int:
    """Carry out the rows that the broker was not told of; return how many were.

    It was away, or the process died before telling. Uses index: node_broker_behind.
    """
    late = Node.objects.filter(broker_behind_since__lt=now - LATE_AFTER)
    found = late.order_by("broker_behind_since", "pk")
    done = 0
    for node_id in list(found.values_list("pk", flat=True)[:SWEEP_MAX]):
        try:
            enforce(node_id=node_id)
        except broker.BrokerUnavailable as exc:
            logger.warning("the broker cannot be told: %s", exc, extra={"node_id": node_id})
            break
        done += 1
    return done
