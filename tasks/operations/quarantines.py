"""Do not believe a node, for one model or at all, until staff lift it. No strike.

Its leases are taken back, it is given no work, and what it answered and can still change is
doubted: the policy decides each of those chunks again, what others carry stands, the rest is
computed anew while its rewards wait. Answers that come meanwhile are doubted as they are
stored (`tasks.intake`). A quarantine throws its own doubt: `Replica.doubted_at` is its
`quarantined_at`, so that lifting it finds what it doubted. Its record (checks, strikes) is
left alone.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from tasks import leases, settlement
from tasks.errors import Refused, WrongState
from tasks.models import CatalogModel, Chunk, Credibility, Node, Replica, StaffAction, Strike
from tasks.operations import log
from tasks.reasons import ChunkReason, ReplicaReason
from tasks.verification import verdicts

logger = logging.getLogger(__name__)

#: Chunks looked up in one query.
STEP: Final = 1000
_Verb = StaffAction.Verb
_S = Replica.State
_UNSETTLED = (Chunk.State.OPEN, Chunk.State.PROVISIONAL)


class UnknownModel(Refused):
    """There is no such model."""

    code, status, field = "unknown_model", 422, "model"


def impose(*, node_id: str, model_id: str | None, staff_id: int, note: str, now: datetime) -> int:
    """Put the node in quarantine, for one model or (None) for all; return answers doubted.

    Raises:
        WrongState: it is in this quarantine, or retired; nothing was changed.
        UnknownModel: nothing was changed.
    """
    with transaction.atomic(durable=True):
        node = _lock_node(node_id)
        _check(node, model_id)
        chunk_ids = _lock_chunks(_held(node_id, model_id), _answers(node_id, model_id))
        _mark(node, model_id, at=now, note=log.clean(note))
        rows = _answers(node_id, model_id).filter(chunk__in=chunk_ids, doubted_at=None)
        doubted = list(rows.order_by("pk").values_list("pk", flat=True))
        Replica.objects.filter(pk__in=doubted).update(doubted_at=now)
        _stir(chunk_ids, now=now)
        leases.end_all_of_node(node_id=node_id, model_id=model_id, now=now)
        settlement.freeze(replica_ids=doubted, now=now)
        _record(_Verb.QUARANTINE, node_id, model_id, len(doubted), staff_id, note, now=now)
    logger.warning("node quarantined", extra={"node_id": node_id, "model_id": model_id})
    _decide(chunk_ids, now=now)
    return len(doubted)


def lift(*, node_id: str, model_id: str | None, staff_id: int, now: datetime) -> int:
    """End a quarantine; return how many answers are believed again.

    Not those that a strike, or the other quarantine, speaks against meanwhile.

    Raises:
        WrongState: it is not in this quarantine; nothing was changed.
    """
    with transaction.atomic(durable=True):
        node = _lock_node(node_id)
        since = _since(node, model_id)
        if since is None:
            raise WrongState("The node is not in this quarantine.")
        rows = _answers(node_id, model_id).filter(doubted_at=since)
        chunk_ids = _lock_chunks(rows)
        _mark(node, model_id, at=None, note="")
        believed = _believe_again(node, rows.filter(chunk__in=chunk_ids))
        _stir(chunk_ids, now=now)
        free = Replica.objects.filter(pk__in=believed, state=_S.ACCEPTED).exclude(
            chunk__reason=ChunkReason.RECHECKING
        )
        settlement.unfreeze(replica_ids=list(free.values_list("pk", flat=True)), now=now)
        _record(_Verb.LIFT, node_id, model_id, len(believed), staff_id, "", now=now)
    logger.warning("quarantine lifted", extra={"node_id": node_id, "model_id": model_id})
    _decide(chunk_ids, now=now)
    return len(believed)


def models_of(node_id: str) -> list[Credibility]:
    """Return the models a node is in quarantine for, by name. One query."""
    rows = Credibility.objects.filter(node=node_id, quarantined_at__isnull=False)
    return list(rows.select_related("model").order_by("model__name", "pk"))


def _lock_node(node_id: str) -> Node:
    """Reports of the node are stored under the same lock: none slips through believed.

    Its marks change under it as well, those on its records too.
    """
    return Node.objects.select_for_update(of=("self",), no_key=True).get(pk=node_id)


def _check(node: Node, model_id: str | None) -> None:
    if node.state == Node.State.RETIRED:
        raise WrongState("The node is retired.")
    if model_id is not None and not CatalogModel.objects.filter(pk=model_id).exists():
        raise UnknownModel("There is no such model.")
    if _since(node, model_id) is not None:
        raise WrongState("The node is in this quarantine already.")


def _since(node: Node, model_id: str | None) -> datetime | None:
    """Return since when this quarantine stands."""
    if model_id is None:
        return node.quarantined_at
    record = Credibility.objects.filter(node=node, model=model_id)
    return record.values_list("quarantined_at", flat=True).first()


def _mark(node: Node, model_id: str | None, *, at: datetime | None, note: str) -> None:
    """Write it down, under the chunks' locks: verdicts lock records after chunks."""
    if model_id is None:
        node.quarantined_at, node.quarantine_note = at, note
        node.save(update_fields=["quarantined_at", "quarantine_note"])
        return
    Credibility.objects.get_or_create(node=node, model_id=model_id)
    record = Credibility.objects.filter(node=node, model=model_id)
    record.update(quarantined_at=at, quarantine_note=note)


def _held(node_id: str, model_id: str | None) -> QuerySet[Replica]:
    """Uses index: replica_held_by_node."""
    return _of(Replica.objects.filter(node=node_id, state=_S.LEASED), model_id)


def _answers(node_id: str, model_id: str | None) -> QuerySet[Replica]:
    """Return what the node ever answered; not what an appeal decided.

    Uses index: replica_by_node, over all its work: a rare act. Not joined with chunks, or
    the plan might read all there are.
    """
    rows = Replica.objects.filter(node=node_id, state__in=[_S.REPORTED, _S.ACCEPTED])
    return _of(rows.exclude(reason=ReplicaReason.APPEAL_UPHELD), model_id)


def _of(rows: QuerySet[Replica], model_id: str | None) -> QuerySet[Replica]:
    return rows if model_id is None else rows.filter(job__model=model_id)


def _lock_chunks(*rows: QuerySet[Replica]) -> list[int]:
    """Lock the chunks of these that can still change, in order; return their ids."""
    named = sorted({pk for each in rows for pk in each.values_list("chunk", flat=True)})
    locked: list[int] = []
    for start in range(0, len(named), STEP):
        locked += (
            Chunk.objects.select_for_update(of=("self",), no_key=True)
            .filter(pk__in=named[start : start + STEP], state__in=_UNSETTLED)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
    return locked


def _believe_again(node: Node, rows: QuerySet[Replica]) -> list[int]:
    """Take the doubt off, or hand it to whatever else speaks against the answer."""
    by_model: defaultdict[str, list[tuple[int, datetime | None]]] = defaultdict(list)
    for pk, model_id, reported_at in rows.order_by("pk").values_list(
        "pk", "job__model", "reported_at"
    ):
        by_model[model_id].append((pk, reported_at))
    believed: list[int] = []
    for model_id, answers in sorted(by_model.items()):
        other = node.quarantined_at or _since(node, model_id)
        struck = _struck(node.pk, model_id)
        by_doubt: defaultdict[datetime | None, list[int]] = defaultdict(list)
        for pk, reported_at in answers:
            later = (at for at in struck if reported_at is not None and reported_at <= at)
            by_doubt[next(later, other)].append(pk)
        for doubted_at, named in by_doubt.items():
            Replica.objects.filter(pk__in=named).update(doubted_at=doubted_at)
        believed += by_doubt.get(None, [])
    return believed


def _struck(node_id: str, model_id: str) -> list[datetime]:
    """Return when strikes that stand were carried out, in order. Uses index: strike_by_node.

    Not mere warnings: they throw doubt on nothing.
    """
    rows = Strike.objects.filter(
        node=node_id, model=model_id, enforced_at__isnull=False, overturned_at=None
    ).exclude(cause=Strike.Cause.NEAR, is_counted=False)
    found = rows.order_by("enforced_at", "pk").values_list("enforced_at", flat=True)
    return [at for at in found if at is not None]


def _stir(chunk_ids: list[int], *, now: datetime) -> None:
    """Let accepted chunks be decided again, should nobody live to do it at once."""
    Chunk.objects.filter(pk__in=chunk_ids, state=Chunk.State.PROVISIONAL).update(stirred_at=now)


def _decide(chunk_ids: list[int], *, now: datetime) -> None:
    for chunk_id in chunk_ids:
        verdicts.advance(chunk_id=chunk_id, now=now)


def _record(
    verb: StaffAction.Verb,
    node_id: str,
    model_id: str | None,
    answers: int,
    staff_id: int,
    note: str,
    *,
    now: datetime,
) -> None:
    detail = {"model": model_id or "all", "answers": answers}
    log.record(staff_id=staff_id, verb=verb, target=node_id, note=note, detail=detail, now=now)
