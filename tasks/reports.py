"""Take what nodes answer: only the leaseholder, only once, only within the rules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F
from django.db.models.functions import Greatest

from tasks import dispatch, leases
from tasks.models import Chunk, Job, Node, Replica
from tasks.models.jobs import ENDED_WITHOUT_ANSWER
from tasks.reasons import ReplicaReason
from workers.protocol import boxes, limits, messages

logger = logging.getLogger(__name__)

#: A box may reach this far over the picture's edge, pixels: rounding, no more.
EDGE_SLACK = 1.0
#: Probabilities of 8-bit models sum to about 1.
SUM_SLACK = 0.06
_S = Replica.State


class InvalidAnswer(Exception):
    """The answer breaks the rules: positions, sizes, labels or boxes."""


@dataclass(frozen=True, kw_only=True)
class SignedReport:
    """A report whose sender is proven, with the bytes that prove it."""

    report: messages.Report
    body: str
    signature: str


def accept(signed_reports: Sequence[SignedReport], *, now: datetime) -> list[int]:
    """Take reports; return the ids of the chunks in which there is something to decide.

    A report that changes nothing (unknown, another node's, a wrong nonce, doubled, too
    late) is logged and left out. Runs inside the caller's transaction. Locks in the order
    all of `tasks` keeps, so that no two transactions wait for each other: nodes, chunks,
    replicas, jobs.
    """
    assert connection.in_atomic_block
    senders = {signed.report.node for signed in signed_reports}
    for node_id in sorted(senders):
        Node.objects.filter(pk=node_id).update(last_seen_at=now)
    named = leases.replica_ids([signed.report.assignment for signed in signed_reports])
    list(
        Chunk.objects.select_for_update(of=("self",))
        .filter(pk__in=Replica.objects.filter(pk__in=named).values("chunk"))
        .order_by("pk")
    )
    # Read under the locks: a lease lost a moment ago must be seen as lost.
    found = [(signed, _responsible(signed.report)) for signed in signed_reports]
    taken = [
        replica
        for signed, replica in found
        if replica is not None and _take(replica, signed, now=now)
    ]
    for job_id in sorted({replica.job_id for replica in taken}):
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
    return sorted({replica.chunk_id for replica in taken})


def _take(replica: Replica, signed: SignedReport, *, now: datetime) -> bool:
    """Store, refuse or give up; False when another transaction was first."""
    if signed.report.status != "done":
        return _give_up(replica, signed.report, now=now)
    if replica.state == _S.LOST and not _makes_way(replica, now=now):
        return False
    try:
        answer = check(signed.report, replica)
    except InvalidAnswer as exc:
        logger.warning("invalid answer: %s", exc, extra={"replica_id": replica.pk})
        return _refuse(replica, signed, now=now)
    return _store(replica, signed, answer, now=now)


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


def check(
    report: messages.Report, replica: Replica
) -> list[list[messages.Detection]] | list[list[messages.Classified]]:
    """Return the answers by position after checking them against the assignment.

    Raises:
        InvalidAnswer: a position is missing, doubled or unknown; a size differs from the
            picture's; a class is not the model's; a box lies outside; likelihoods are out
            of order; or it answers another kind of question.
    """
    if report.model_digest != replica.job.model.blob_id:
        raise InvalidAnswer("another model")
    items = {item.position: item for item in replica.chunk.items.select_related("image")}
    if sorted(answer.position for answer in report.answers) != sorted(items):
        raise InvalidAnswer("positions differ from the assignment's")
    for answer in report.answers:
        image = items[answer.position].image
        if (answer.width, answer.height) != (image.width, image.height):
            raise InvalidAnswer("the picture's size differs")
    class_ids = {int(text) for text in replica.job.model.labels}
    in_order = sorted(report.answers, key=lambda answer: answer.position)
    if replica.job.kind == Job.Kind.CLASSIFY:
        return [_classes(answer, class_ids) for answer in in_order]
    return [_detections(answer, class_ids) for answer in in_order]


def _detections(answer: messages.Answer, class_ids: set[int]) -> list[messages.Detection]:
    if answer.classes:
        raise InvalidAnswer("classes where boxes are asked for")
    for detection in answer.detections:
        _check_detection(detection, class_ids, answer.width, answer.height)
    return list(answer.detections)


def _classes(answer: messages.Answer, class_ids: set[int]) -> list[messages.Classified]:
    if answer.detections:
        raise InvalidAnswer("boxes where classes are asked for")
    found = answer.classes
    numbers = [number for number, _ in found]
    if len(found) != min(limits.CLASSES_MAX, len(class_ids)):
        raise InvalidAnswer("too few classes")
    if len(set(numbers)) < len(numbers) or not class_ids.issuperset(numbers):
        raise InvalidAnswer("unknown class")
    scores = [score for _, score in found]
    if scores != sorted(scores, reverse=True) or sum(scores) > 1 + SUM_SLACK:
        raise InvalidAnswer("no likelihoods, highest first")
    return list(found)


def _check_detection(
    detection: messages.Detection, class_ids: set[int], width: int, height: int
) -> None:
    if detection[0] not in class_ids:
        raise InvalidAnswer("unknown class")
    if not boxes.is_inside(detection[2:], width=width, height=height, slack=EDGE_SLACK):
        raise InvalidAnswer("a box outside the picture")


def _responsible(report: messages.Report) -> Replica | None:
    """Find the replica the report answers: this node's, with this nonce, still open.

    A lost lease's late answer counts while its chunk is undecided: the work was done.
    """
    replica = (
        Replica.objects.select_related("job__model", "chunk")
        .filter(
            pk__in=leases.replica_ids([report.assignment]),
            node_id=report.node,
            nonce=report.nonce,
            state__in=[_S.LEASED, _S.LOST],
            chunk__state=Chunk.State.OPEN,
        )
        .first()
    )
    if replica is None:
        logger.warning("report for nobody's lease", extra={"node_id": report.node})
    return replica


def _give_up(replica: Replica, report: messages.Report, *, now: datetime) -> bool:
    is_handed_back = report.status == "handed_back"
    reason = ReplicaReason.HANDED_BACK if is_handed_back else ReplicaReason.NODE_ERROR
    return leases.end(replica=replica, state=_S.FAILED, reason=reason, now=now)


def _store(
    replica: Replica,
    signed: SignedReport,
    answer: Sequence[Sequence[messages.Detection]] | Sequence[Sequence[messages.Classified]],
    *,
    now: datetime,
) -> bool:
    stored = Replica.objects.filter(
        pk=replica.pk, state=replica.state, chunk__state=Chunk.State.OPEN
    ).update(
        state=_S.REPORTED,
        reason="",
        answer=[[list(found) for found in picture] for picture in answer],
        compute_ms=signed.report.compute_ms,
        **_evidence(signed, now=now),
    )
    if stored and replica.state == _S.LOST:
        Chunk.objects.filter(pk=replica.chunk_id).update(
            granted=F("granted") + 1, wanted=Greatest(F("wanted"), F("granted") + 1)
        )
    return stored == 1


def _refuse(replica: Replica, signed: SignedReport, *, now: datetime) -> bool:
    refused = Replica.objects.filter(
        pk=replica.pk, state=replica.state, chunk__state=Chunk.State.OPEN
    ).update(state=_S.REJECTED, reason=ReplicaReason.INVALID_ANSWER, **_evidence(signed, now=now))
    if refused and replica.state == _S.LEASED:
        Chunk.objects.filter(pk=replica.chunk_id).update(granted=F("granted") - 1)
    return refused == 1


def _evidence(signed: SignedReport, *, now: datetime) -> dict[str, object]:
    return {
        "reported_at": now,
        "report_body": signed.body,
        "report_signature": signed.signature,
    }
