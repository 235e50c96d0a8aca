"""What must always be true of the work; `manage.py doctor` prints it, flow tests assert it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, F, Q
from django.db.models.functions import Now

from payments import queries as payments_queries
from tasks import blobs
from tasks.models import Blob, Chunk, Credibility, Item, Job, Node, Replica, Strike

#: Blobs whose files are looked for in one run.
BLOBS_MAX = 10_000
#: Pieces of work whose rewards are looked for.
REPLICAS_MAX = 5_000
_ENDED = (Job.State.FINISHED, Job.State.FAILED, Job.State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One invariant, and whether it holds."""

    name: str
    holds: bool
    detail: str


def audit() -> Iterator[Finding]:
    """Check each invariant of the work; a handful of queries each."""
    yield _none(
        "no_chunk_lost",
        Chunk.objects.filter(job__state__in=_ENDED, state=Chunk.State.OPEN).count(),
        "open chunks in ended jobs",
    )
    yield _none(
        "chunk_slots_match",
        Chunk.objects.filter(state=Chunk.State.OPEN)
        .annotate(
            # Accepted while the chunk is open: an appeal was upheld before others answered.
            present=Count(
                "replicas", filter=Q(replicas__state__in=["leased", "reported", "accepted"])
            )
        )
        .exclude(present=F("granted"))
        .count(),
        "open chunks whose granted differs from their replicas",
    )
    yield _none(
        "final_items_have_results",
        Item.objects.filter(state=Item.State.FINAL, detections__isnull=True).count(),
        "final items without a result",
    )
    yield _none(
        "provisional_items_have_results",
        Item.objects.filter(state=Item.State.PROVISIONAL, detections__isnull=True).count(),
        "provisional items without a result",
    )
    yield _none("job_counters_match", _miscounted_jobs(), "jobs whose counters are wrong")
    yield _none(
        "accepted_are_rewarded",
        _unrewarded(),
        "accepted or cancelled pieces of work without a reward",
    )
    yield _none(
        "strikes_are_enforced",
        Strike.objects.filter(
            enforced_at=None, created_at__lt=Now() - timedelta(minutes=1)
        ).count(),
        "strikes that nobody carried out",
    )
    yield _none(
        "barred_nodes_believed_nowhere",
        Credibility.objects.filter(
            state__in=[Credibility.State.QUARANTINED, Credibility.State.BANNED],
            struck_at=None,
        ).count(),
        "nodes barred without a strike",
    )
    yield _none(
        "open_leases_have_nodes",
        Replica.objects.filter(state=Replica.State.LEASED)
        .exclude(node__state__in=[Node.State.ACTIVE, Node.State.PAUSED])
        .count(),
        "leases held by removed nodes",
    )
    yield _none(
        "accepted_from_distinct_owners",
        Replica.objects.filter(state=Replica.State.ACCEPTED)
        .values("chunk", "operator")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
        .count(),
        "chunks accepted twice from one owner",
    )
    missing = sum(
        not blobs.exists(digest)
        for digest in Blob.objects.order_by("-created_at").values_list("digest", flat=True)[
            :BLOBS_MAX
        ]
    )
    yield _none("blobs_present", missing, "blobs without a file")


def _unrewarded() -> int:
    """Count paid work without a reward among the newest."""
    worked = list(
        Replica.objects.filter(state__in=[Replica.State.ACCEPTED, Replica.State.CANCELLED])
        .order_by("-pk")
        .values_list("pk", flat=True)[:REPLICAS_MAX]
    )
    rewarded = payments_queries.rewards([str(pk) for pk in worked])
    return len(worked) - len(rewarded)


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
