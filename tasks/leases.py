"""Who is responsible for a chunk, and until when."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F

from tasks import dispatch, events, pulses, quotas
from tasks.models import Chunk, Job, Node, Replica
from tasks.reasons import EventCode, NodeReason, ReplicaReason
from tasks.scheduling import LEASE
from workers.protocol import messages

logger = logging.getLogger(__name__)

#: Expired leases taken in one sweep.
EXPIRE_MAX = 500


def renew(heartbeats: Sequence[messages.Heartbeat], *, now: datetime) -> list[str]:
    """Take signs of life: renew the named leases, note what each node says of itself.

    An older heartbeat than the last one taken is a replay and changes nothing. Runs inside
    the caller's transaction. Returns the ids of the nodes heard.
    """
    assert connection.in_atomic_block
    heard = set(pulses.write(heartbeats, leased_until=now + LEASE, now=now))
    for beat in heartbeats:
        if pulses.is_of_another_time(beat, now=now):
            logger.warning("heartbeat with a wrong clock", extra={"node_id": beat.node})
    beats = [beat for beat in heartbeats if beat.node in heard]
    _withdraw_unwanted(beats)
    _repeat_settings(beats)
    return [beat.node for beat in beats]


def _withdraw_unwanted(heartbeats: Sequence[messages.Heartbeat]) -> None:
    """Answer the question in each heartbeat: what it names and is not leased any more.

    A node that slept, or lost the first withdrawal, so stops working for nobody. Only a
    node's own replicas: another's name in a heartbeat moves nothing. One query.
    """
    named = {name for beat in heartbeats for name in beat.running}
    ended = Replica.objects.filter(pk__in=replica_ids(sorted(named))).exclude(
        state=Replica.State.LEASED
    )
    mine = {(beat.node, name) for beat in heartbeats for name in beat.running}
    found = ended.order_by("pk").values_list("pk", "node_id")
    dispatch.withdraw(replica_ids=[pk for pk, node_id in found if (node_id, str(pk)) in mine])


def _repeat_settings(heartbeats: Sequence[messages.Heartbeat]) -> None:
    """Send the page's settings again to nodes that name an older revision. One query."""
    newest = {beat.node: beat.settings_revision for beat in heartbeats}
    behind = Node.objects.filter(pk__in=newest, settings_revision__gt=0).order_by("pk")
    dispatch.settings(
        node_ids=[
            node_id
            for node_id, revision in behind.values_list("pk", "settings_revision")
            if newest[node_id] < revision
        ]
    )


def replica_ids(texts: Sequence[str]) -> list[int]:
    """Read assignment ids as the numbers they are; what is no number is nobody's."""
    return pulses.replica_ids(texts)


def expire(*, now: datetime) -> int:
    """Take back leases that ran out; their chunks become ready for other owners.

    Also those of a node that was removed in the moment it was given work. A node that was
    silent all the while is given nothing until it is heard again.
    """
    # Uses index: replica_open_lease.
    leased = Replica.objects.filter(state=Replica.State.LEASED).order_by("lease_expires_at", "pk")
    late = leased.filter(lease_expires_at__lt=now)[:EXPIRE_MAX]
    orphaned = leased.filter(node__state__in=[Node.State.SUSPENDED, Node.State.RETIRED])
    found = [
        *((replica, ReplicaReason.LEASE_EXPIRED) for replica in late),
        *((replica, ReplicaReason.NODE_REMOVED) for replica in orphaned[:EXPIRE_MAX]),
    ]
    _mark_silent({replica.node_id for replica in late}, now=now)
    ended = [
        replica.pk
        for replica, reason in found
        if end(replica=replica, state=Replica.State.LOST, reason=reason, now=now)
    ]
    with transaction.atomic():
        quotas.lower(ended)
    return len(ended)


def _mark_silent(node_ids: set[str], *, now: datetime) -> None:
    """Say that these nodes are offline, unless they were heard within a lease's time.

    Their next sign of life says otherwise. One that is alive but lost an assignment is no
    such node. Before the leases end: else they would get more work at once.
    """
    for node_id in sorted(node_ids):
        Node.objects.filter(pk=node_id, reason="", last_seen_at__lte=now - LEASE).update(
            reason=NodeReason.OFFLINE
        )


def end_all_of_node(*, node_id: str, now: datetime, model_id: str | None = None) -> int:
    """Take back all a node holds (of one model): it was retired, suspended or quarantined.

    Runs inside the caller's transaction.
    """
    assert connection.in_atomic_block
    held = Replica.objects.filter(node_id=node_id, state=Replica.State.LEASED).order_by("pk")
    if model_id is not None:
        held = held.filter(job__model=model_id)
    # All chunks before the first job: a verdict holds one of them and waits for its job.
    list(
        Chunk.objects.select_for_update(of=("self",))
        .filter(pk__in=held.order_by().values("chunk"))
        .order_by("pk")
    )
    return sum(
        end(replica=replica, state=Replica.State.LOST, reason=ReplicaReason.NODE_REMOVED, now=now)
        for replica in held
    )


def end(*, replica: Replica, state: Replica.State, reason: ReplicaReason, now: datetime) -> bool:
    """Close an open lease without an answer and free the chunk's slot.

    False when it was closed before: the conditional update makes one of two callers win.
    A lease renewed since `replica` was read has not expired.
    """
    leased = Replica.objects.filter(pk=replica.pk, state=Replica.State.LEASED)
    if reason == ReplicaReason.LEASE_EXPIRED:
        leased = leased.filter(lease_expires_at=replica.lease_expires_at)
    with transaction.atomic():
        # The chunk first, as `verdicts.advance` does: no deadlock between the two.
        list(Chunk.objects.select_for_update(of=("self",)).filter(pk=replica.chunk_id))
        closed = leased.update(state=state, reason=reason, reported_at=now)
        if closed == 0:
            return False
        Chunk.objects.filter(pk=replica.chunk_id, granted__gt=0).update(granted=F("granted") - 1)
        if replica.purpose == Replica.Purpose.WORK:
            # Its chunk is accepted: nobody waits for it. See Note [Overtaken work].
            Chunk.objects.filter(
                pk=replica.chunk_id, state=Chunk.State.PROVISIONAL, wanted__gt=F("granted")
            ).update(wanted=F("wanted") - 1, stirred_at=now)
        Job.objects.filter(pk=replica.job_id).update(version=F("version") + 1)
        if state == Replica.State.LOST:
            events.record(
                job_id=replica.job_id,
                code=EventCode.LEASE_LOST,
                detail={"reason": reason.value},
                now=now,
            )
            dispatch.withdraw(replica_ids=[replica.pk])
    logger.info("lease ended", extra={"replica_id": replica.pk, "reason": reason.value})
    return True
