"""Give no new work: to one node, or to all. What runs is finished, reported and paid."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction

from tasks import dispatch
from tasks.errors import WrongState
from tasks.models import Node, Platform, StaffAction
from tasks.operations import log, platform

logger = logging.getLogger(__name__)

_Verb = StaffAction.Verb
_MAY_WORK = (Node.State.ACTIVE, Node.State.PAUSED)


def drain(*, node_id: str, staff_id: int, note: str, now: datetime) -> Node:
    """Give the node no new work; its operator reads why. What it holds it finishes.

    Raises:
        WrongState: it is drained, suspended or retired; nothing was changed.
    """
    with transaction.atomic(durable=True):
        changed = Node.objects.filter(pk=node_id, drained_at=None, state__in=_MAY_WORK).update(
            drained_at=now, drain_note=log.clean(note)
        )
        if not changed:
            raise WrongState(_why_not(node_id, "drained"))
        log.record(staff_id=staff_id, verb=_Verb.DRAIN, target=node_id, note=note, now=now)
    logger.info("node drained", extra={"node_id": node_id})
    return Node.objects.get(pk=node_id)


def undrain(*, node_id: str, staff_id: int, now: datetime) -> Node:
    """Give the node work again.

    Raises:
        WrongState: it is not drained; nothing was changed.
    """
    with transaction.atomic(durable=True):
        changed = Node.objects.filter(pk=node_id, drained_at__isnull=False).update(
            drained_at=None, drain_note=""
        )
        if not changed:
            raise WrongState("The node is not drained.")
        log.record(staff_id=staff_id, verb=_Verb.UNDRAIN, target=node_id, now=now)
        dispatch.sweep()
    logger.info("node given work again", extra={"node_id": node_id})
    return Node.objects.get(pk=node_id)


def drain_platform(*, staff_id: int, note: str, now: datetime) -> Platform:
    """Give out no new work at all; waiting jobs show why from the next sweep on.

    A pass of the scheduler that has chosen already still gives its grants out.

    Raises:
        WrongState: it is drained; nothing was changed.
    """
    with transaction.atomic(durable=True):
        row = platform.lock()
        if row.drained_at is not None:
            raise WrongState("The platform is drained already.")
        row.drained_at, row.drain_note = now, log.clean(note)
        row.save(update_fields=["drained_at", "drain_note"])
        log.record(staff_id=staff_id, verb=_Verb.DRAIN, target=log.PLATFORM, note=note, now=now)
        dispatch.sweep()
    logger.warning("the platform is drained")
    return row


def resume_platform(*, staff_id: int, now: datetime) -> Platform:
    """Give out work again.

    Raises:
        WrongState: it is not drained; nothing was changed.
    """
    with transaction.atomic(durable=True):
        row = platform.lock()
        if row.drained_at is None:
            raise WrongState("The platform is not drained.")
        row.drained_at, row.drain_note = None, ""
        row.save(update_fields=["drained_at", "drain_note"])
        log.record(staff_id=staff_id, verb=_Verb.UNDRAIN, target=log.PLATFORM, now=now)
        dispatch.sweep()
    logger.warning("the platform gives out work again")
    return row


def _why_not(node_id: str, already: str) -> str:
    state = Node.objects.get(pk=node_id).state
    return f"The node is {already if state in _MAY_WORK else state}."
