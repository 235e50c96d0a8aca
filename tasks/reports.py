"""Take what nodes answer: only the leaseholder, only once, only within the rules."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F

from tasks import answers, dispatch, intake, leases, quotas
from tasks.models import CatalogModel, Chunk, Item, Job, Node, Replica
from tasks.models.replicas import ENDED_WITHOUT_ANSWER
from tasks.reasons import ReplicaReason
from tasks.verification import smoke
from workers.protocol import messages

logger = logging.getLogger(__name__)

_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class SignedReport:
    """A report whose sender is proven, with the message that proves it.

    Reports of one message carry the same `body` and `signature`.
    """

    report: messages.Report
    body: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A replica that waits for its answer, as read under the lock of its chunk."""

    replica_id: int
    chunk_id: int
    job_id: str
    node_id: str
    nonce: str
    was_lost: bool
    model_id: str
    question: answers.Question
    gold_position: int | None


def accept(
    signed_reports: Sequence[SignedReport], *, now: datetime, is_replay: bool = False
) -> list[int]:
    """Take reports; return the ids of the chunks in which there is something to decide.

    A report that changes nothing (unknown, another node's, a wrong nonce, doubled, too
    late) is logged and left out. Runs inside the caller's transaction; as many queries for
    many reports as for one, but for lost leases and work given up, which are rare. Locks in
    the order all of `tasks` keeps, so that no two transactions wait for each other: nodes,
    chunks, replicas, jobs. `is_replay`: no sign of life of the nodes.
    """
    assert connection.in_atomic_block
    if not signed_reports:
        return []
    senders = {signed.report.node for signed in signed_reports}
    _note_senders(senders, heard_at=None if is_replay else now)
    named = leases.replica_ids([signed.report.assignment for signed in signed_reports])
    # Two queries: joined, a batch may be planned as a scan of all chunks.
    chunk_ids = set(Replica.objects.filter(pk__any_of=named).values_list("chunk", flat=True))
    states = dict(
        Chunk.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__any_of=chunk_ids)
        .order_by("pk")
        .values_list("pk", "state")
    )
    # Read under the locks: a lease lost a moment ago must be seen as lost.
    asked = _read_asked(named)
    usual, unusual = _split(signed_reports, asked)
    entries = [_entry(signed, asked[int(signed.report.assignment)]) for signed in usual]
    stored = set(intake.store(entries, now=now))
    for signed in unusual:
        stored |= _take_alone(signed, now=now)
    if unusual:
        quotas.lower(stored)
    taken = [asked[replica_id] for replica_id in stored]
    taken_ids = {each.chunk_id for each in taken}
    accepted = [pk for pk in taken_ids if states[pk] == Chunk.State.PROVISIONAL]
    if accepted:
        _stir(accepted, now=now)
    _raise_versions({each.job_id for each in taken})
    return sorted(taken_ids)


def _note_senders(node_ids: set[str], *, heard_at: datetime | None) -> None:
    """Lock the senders, and note that they are alive."""
    heard = Node.objects.select_for_update(no_key=True).filter(pk__in=node_ids).order_by("pk")
    locked = list(heard.values_list("pk", flat=True))
    if heard_at is not None:
        Node.objects.filter(pk__in=locked).update(last_seen_at=heard_at)


def _stir(chunk_ids: Sequence[int], *, now: datetime) -> None:
    """Mark accepted chunks for another look, should nobody live to take it at once."""
    Chunk.objects.filter(pk__in=chunk_ids, state=Chunk.State.PROVISIONAL).update(stirred_at=now)


def _raise_versions(job_ids: set[str]) -> None:
    """Say that the jobs look different now; several are locked in order first."""
    if len(job_ids) == 1:
        Job.objects.filter(pk__in=job_ids).update(version=F("version") + 1)
        return
    changed = Job.objects.select_for_update(no_key=True).filter(pk__in=job_ids).order_by("pk")
    Job.objects.filter(pk__in=list(changed.values_list("pk", flat=True))).update(
        version=F("version") + 1
    )


def _read_asked(replica_ids: Sequence[int]) -> dict[int, _Asked]:
    """Read the replicas that may still be answered, by id. Three queries.

    A lost lease's late answer counts while its chunk is undecided: the work was done.
    """
    rows = list(
        Replica.objects.filter(
            pk__any_of=replica_ids, state__in=[_S.LEASED, _S.LOST], chunk__state__in=intake.UNDECIDED
        ).values_list(
            "pk", "chunk_id", "job_id", "node_id", "nonce", "state",
            "job__model_id", "job__kind", "gold_position", "gold__width", "gold__height",
        )
    )  # fmt: skip
    models = {
        model_id: (digest, frozenset(int(text) for text in labels))
        for model_id, digest, labels in CatalogModel.objects.filter(
            pk__in={row[6] for row in rows}
        ).values_list("pk", "blob_id", "labels")
    }
    sizes = _picture_sizes({row[1] for row in rows})
    asked = {}
    for pk, chunk_id, job_id, node_id, nonce, state, model_id, kind, place, width, height in rows:
        shown = list(sizes[chunk_id])
        if place is not None:
            shown.insert(place, (width, height))
        digest, class_ids = models[model_id]
        asked[pk] = _Asked(
            replica_id=pk,
            chunk_id=chunk_id,
            job_id=job_id,
            node_id=node_id,
            nonce=nonce,
            was_lost=state == _S.LOST,
            model_id=model_id,
            question=answers.Question(
                model_digest=digest, kind=kind, class_ids=class_ids, sizes=shown
            ),
            gold_position=place,
        )
    return asked


def _picture_sizes(chunk_ids: set[int]) -> dict[int, list[tuple[int, int]]]:
    sizes: dict[int, list[tuple[int, int]]] = defaultdict(list)
    items = Item.objects.filter(chunk__any_of=chunk_ids).order_by("chunk", "position")
    for chunk_id, width, height in items.values_list("chunk", "image__width", "image__height"):
        sizes[chunk_id].append((width, height))
    return sizes


def _split(
    signed_reports: Sequence[SignedReport], asked: dict[int, _Asked]
) -> tuple[list[SignedReport], list[SignedReport]]:
    """Leave out what answers nothing; part the usual reports from the rest, in order.

    Usual: an answer within its lease, and nothing else in the batch about its chunk.
    """
    found: list[tuple[SignedReport, _Asked]] = []
    for signed in signed_reports:
        answered = _responsible(signed.report, asked)
        if answered is None:
            logger.warning("report for nobody's lease", extra={"node_id": signed.report.node})
        else:
            found.append((signed, answered))
    seen = Counter(each.replica_id for _, each in found)
    special = {
        each.chunk_id
        for signed, each in found
        if each.was_lost or signed.report.status != "done" or seen[each.replica_id] > 1
    }
    usual = [signed for signed, each in found if each.chunk_id not in special]
    return usual, [signed for signed, each in found if each.chunk_id in special]


def _responsible(report: messages.Report, asked: dict[int, _Asked]) -> _Asked | None:
    """Find the replica the report answers: this node's, with this nonce, still open."""
    for replica_id in leases.replica_ids([report.assignment]):
        found = asked.get(replica_id)
        if found is not None and (found.node_id, found.nonce) == (report.node, report.nonce):
            return found
    return None


def _entry(signed: SignedReport, asked: _Asked) -> intake.Entry:
    report = signed.report
    answer: answers.Found | None = None
    gold_answer = None
    try:
        answer = answers.check(report, asked.question)
    except answers.InvalidAnswer as exc:
        logger.warning("invalid answer: %s", exc, extra={"replica_id": asked.replica_id})
    if answer is not None and asked.gold_position is not None:
        gold_answer = answer.pop(asked.gold_position)
    return intake.Entry(
        replica_id=asked.replica_id,
        chunk_id=asked.chunk_id,
        was_lost=asked.was_lost,
        node_id=asked.node_id,
        model_id=asked.model_id,
        answer=answer,
        gold_answer=gold_answer,
        reason="" if answer is not None else ReplicaReason.INVALID_ANSWER,
        compute_ms=report.compute_ms,
        numeric_class=report.numeric_class,
        proof=intake.Proof(node_id=report.node, body=signed.body, signature=signed.signature),
    )


def _take_alone(signed: SignedReport, *, now: datetime) -> set[int]:
    """Take one report of a chunk about which the batch says more; return its replica's id.

    Its place in the batch matters, so everything is read again.
    """
    asked = _responsible(signed.report, _read_asked(leases.replica_ids([signed.report.assignment])))
    if asked is None:
        return set()
    replica = Replica.objects.get(pk=asked.replica_id)
    if signed.report.status != "done":
        return {replica.pk} if _give_up(replica, signed.report, now=now) else set()
    if asked.was_lost and not _makes_way(replica, now=now):
        return set()
    return set(intake.store([_entry(signed, asked)], now=now))


def _makes_way(replica: Replica, *, now: datetime) -> bool:
    """End the newer lease of an owner whose earlier, lost one is answered after all.

    The work is done: the answer counts and the copy is withdrawn. False when the newer
    lease was answered already, for an owner answers a chunk once (replica_once_per_owner).
    """
    newer = (
        Replica.objects.filter(chunk=replica.chunk_id, operator=replica.operator_id)
        .exclude(pk=replica.pk)
        .exclude(reason__in=ENDED_WITHOUT_ANSWER)
        .first()
    )
    if newer is None:
        return True
    ended = leases.end(replica=newer, state=_S.FAILED, reason=ReplicaReason.HANDED_BACK, now=now)
    if ended:
        dispatch.withdraw(replica_ids=[newer.pk])
    return ended


def _give_up(replica: Replica, report: messages.Report, *, now: datetime) -> bool:
    is_handed_back = report.status == "handed_back"
    reason = ReplicaReason.HANDED_BACK if is_handed_back else ReplicaReason.NODE_ERROR
    ended = leases.end(replica=replica, state=_S.FAILED, reason=reason, now=now)
    if ended:
        Replica.objects.filter(pk=replica.pk).update(error_code=report.reason)
        if not is_handed_back:
            smoke.break_circuit(job_id=replica.job_id, now=now)
    return ended
