"""What must always be true of the work; `manage.py doctor` prints it, flow tests assert it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Exists, F, OuterRef, Q

from payments import queries as payments_queries
from tasks import blobs
from tasks.models import Blob, Chunk, Credibility, Item, Job, Node, Replica, Strike
from tasks.reasons import ChunkReason, ReplicaReason
from tasks.verification import facts

#: Blobs whose files are looked for in one run.
BLOBS_MAX = 10_000
#: Pieces of work whose rewards are looked for.
REPLICAS_MAX = 5_000
#: How long what is due may lie: sweeps come every few seconds.
LATE_MAX = timedelta(hours=1)
STRIKE_LATE_MAX = timedelta(minutes=1)
_ENDED = (Job.State.FINISHED, Job.State.FAILED, Job.State.CANCELLED)
_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One invariant, and whether it holds."""

    name: str
    holds: bool
    detail: str


def audit(*, now: datetime) -> Iterator[Finding]:
    """Check each invariant of the work; a handful of queries each."""
    yield from _of_chunks(now=now)
    yield from _of_trust(now=now)
    yield from _of_items()
    missing = sum(
        not blobs.exists(digest)
        for digest in Blob.objects.order_by("-created_at").values_list("digest", flat=True)[
            :BLOBS_MAX
        ]
    )
    yield _none("blobs_present", missing, "blobs without a file")


def _of_chunks(*, now: datetime) -> Iterator[Finding]:
    yield _none(
        "no_chunk_lost",
        Chunk.objects.filter(job__state__in=_ENDED, state=Chunk.State.OPEN).count(),
        "open chunks in ended jobs",
    )
    yield _none("chunk_slots_match", _misplaced(), "chunks whose granted differs from replicas")
    provisional = Chunk.objects.filter(state=Chunk.State.PROVISIONAL)
    yield _none(
        "provisional_chunks_settle",
        provisional.filter(reason="", settles_at__lt=now - LATE_MAX)
        .exclude(replicas__state__in=[_S.LEASED, _S.REPORTED])
        .count(),
        "accepted chunks that should have been settled",
    )
    yield _none(
        "questions_are_answered",
        provisional.filter(stirred_at__lt=now - LATE_MAX).count(),
        "accepted chunks with news that nobody looked at",
    )
    yield _none(
        "questioned_are_frozen",
        _paid_out_in_question(),
        "results in question whose rewards may be paid out",
    )
    yield _none(
        "open_leases_have_nodes",
        Replica.objects.filter(state=_S.LEASED)
        .exclude(node__state__in=[Node.State.ACTIVE, Node.State.PAUSED])
        .count(),
        "leases held by removed nodes",
    )
    yield _none(
        "accepted_from_distinct_owners",
        Replica.objects.filter(state=_S.ACCEPTED)
        .values("chunk", "operator")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
        .count(),
        "chunks accepted twice from one owner",
    )


def _of_trust(*, now: datetime) -> Iterator[Finding]:
    unpaid, overpaid = _mispaid()
    yield _none("accepted_are_rewarded", unpaid, "pieces of paid work without a reward")
    yield _none("refused_are_not_rewarded", overpaid, "refused pieces of work with a reward")
    yield _none(
        "strikes_are_enforced",
        Strike.objects.filter(enforced_at=None, created_at__lt=now - STRIKE_LATE_MAX).count(),
        "strikes that nobody carried out",
    )
    yield _none(
        "strikes_are_counted_once",
        Credibility.objects.annotate(
            counted=Count(
                "node__strikes",
                filter=Q(
                    node__strikes__model=F("model"),
                    node__strikes__is_counted=True,
                    node__strikes__overturned_at=None,
                ),
            )
        )
        .exclude(counted=F("strikes"))
        .count(),
        "nodes whose strikes differ from what was found",
    )
    yield _none(
        "barred_nodes_were_struck",
        Credibility.objects.filter(
            state__in=[Credibility.State.QUARANTINED, Credibility.State.BANNED], struck_at=None
        ).count(),
        "nodes barred without a strike",
    )
    yield _none(
        "quarantined_are_doubted",
        _believed_in_quarantine(),
        "unsettled answers of quarantined nodes that are believed",
    )


def _believed_in_quarantine() -> int:
    """Count what staff said not to believe; what an appeal decided is no matter of belief."""
    kept = Credibility.objects.filter(
        node=OuterRef("node"), model=OuterRef("job__model"), quarantined_at__isnull=False
    )
    return (
        Replica.objects.filter(
            Q(node__quarantined_at__isnull=False) | Exists(kept),
            chunk__state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
            state__in=[_S.REPORTED, _S.ACCEPTED],
            doubted_at=None,
        )
        .exclude(reason=ReplicaReason.APPEAL_UPHELD)
        .count()
    )


def _of_items() -> Iterator[Finding]:
    for state in (Item.State.PROVISIONAL, Item.State.FINAL):
        yield _none(
            f"{state}_items_have_results",
            Item.objects.filter(state=state, detections__isnull=True).count(),
            f"{state} items without a result",
        )
    yield _none("job_counters_match", _miscounted_jobs(), "jobs whose counters are wrong")


def _misplaced() -> int:
    """Count undecided chunks in which more or fewer have a place than are there.

    Answers that were refused for what they said keep their place once others were accepted;
    one accepted while nothing was: its appeal was upheld.
    """
    answered = Q(replicas__state__in=[_S.LEASED, _S.REPORTED]) | Q(
        replicas__state=_S.ACCEPTED, replicas__answer__isnull=False
    )
    refused = Q(replicas__state=_S.REJECTED, replicas__reason__in=facts.COMPARED)
    return (
        Chunk.objects.filter(state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL])
        .annotate(present=Count("replicas", filter=answered | refused))
        .exclude(present=F("granted"))
        .count()
    )


def _paid_out_in_question() -> int:
    """Count work that carries a result in question and may be paid out meanwhile."""
    questioned = Replica.objects.filter(
        chunk__state=Chunk.State.PROVISIONAL,
        chunk__reason=ChunkReason.RECHECKING,
        state=_S.ACCEPTED,
    ).exclude(reason=ReplicaReason.APPEAL_UPHELD)
    found = questioned.order_by("-pk").values_list("pk", flat=True)[:REPLICAS_MAX]
    rewards = payments_queries.rewards([str(pk) for pk in found])
    return sum(reward.state == "pending" for reward in rewards.values())


def _mispaid() -> tuple[int, int]:
    """Count paid work without a reward, and refused work with one, among the newest.

    What had been paid out before it was found wrong stays paid out.
    """
    paid = [_S.ACCEPTED, _S.CANCELLED]
    newest = dict(
        Replica.objects.filter(state__in=[*paid, _S.REJECTED])
        .order_by("-pk")
        .values_list("pk", "state")[:REPLICAS_MAX]
    )
    rewards = payments_queries.rewards([str(pk) for pk in newest])
    standing = {int(pk) for pk, reward in rewards.items() if reward.state != "voided"}
    due = {int(pk) for pk, reward in rewards.items() if reward.state in {"pending", "frozen"}}
    unpaid = sum(state in paid and pk not in standing for pk, state in newest.items())
    return unpaid, sum(newest[pk] == _S.REJECTED for pk in due)


def _miscounted_jobs() -> int:
    return (
        Job.objects.annotate(
            provisional=Count("items", filter=Q(items__state=Item.State.PROVISIONAL)),
            final=Count("items", filter=Q(items__state=Item.State.FINAL)),
            failed=Count("items", filter=Q(items__state=Item.State.FAILED)),
            total=Count("items"),
        )
        .exclude(
            provisional=F("items_provisional"),
            final=F("items_final"),
            failed=F("items_failed"),
            total=F("items_total"),
        )
        .count()
    )


def _none(name: str, count: int, what: str) -> Finding:
    return Finding(name=name, holds=count == 0, detail=f"{count} {what}")
