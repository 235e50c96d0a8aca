"""What nodes do for a job: their acks, and their attempts at its chunks."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from tasks.models.evidence import SignedReport
from tasks.models.jobs import Chunk, Job
from tasks.models.nodes import Node

#: Reasons after which an owner may have the same chunk again: nothing was answered.
ENDED_WITHOUT_ANSWER = ("handed_back", "lease_expired", "node_removed")


class Ack(models.Model):
    """A node's word that it will take part in a job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="acks", db_index=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="acks")
    received_at = models.DateTimeField()
    #: From the announcement's publishing to the ack's arrival at the platform.
    latency_ms = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "node"], name="ack_once_per_node")]

    def __str__(self) -> str:
        return f"{self.node_id} acks {self.job_id}"


class Replica(models.Model):
    """One node's attempt at a chunk; while leased, that node is responsible for it.

    Invariants: replica_once_per_owner (an owner answers a chunk at most once; whoever lost
    it or gave it back may have it again);
    at most one reward a replica, by the transfer's unique key (doctor:
    accepted_are_rewarded_once).
    """

    class State(models.TextChoices):
        LEASED = "leased"  # assigned; the lease is renewed by heartbeats
        REPORTED = "reported"  # a valid answer is in, not decided yet
        ACCEPTED = "accepted"  # its answer stands; paid
        REJECTED = "rejected"  # its answer was invalid, or does not stand; not paid
        FAILED = "failed"  # the node reported an error
        LOST = "lost"  # the lease ran out
        CANCELLED = "cancelled"  # the job was cancelled while it worked; paid

    class Purpose(models.TextChoices):
        """Why it was given out; the node is never told."""

        WORK = "work"  # an answer the chunk needs
        SMOKE = "smoke"  # one of the first three of a new job
        AUDIT = "audit"  # an accepted answer computed again, drawn by lot
        RECHECK = "recheck"  # a node that had answered was caught
        HEDGE = "hedge"  # a copy of one that is late
        RACE = "race"  # the first valid answer wins

    class Gold(models.TextChoices):
        """How it answered the picture whose answer is known."""

        NONE = "", "None was shown."
        PASSED = "passed", "As known."
        FAILED = "failed", "Differently."

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="replicas")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="replicas", db_index=False)
    node = models.ForeignKey(
        Node, on_delete=models.PROTECT, related_name="replicas", db_index=False
    )
    #: The node's owner when assigned: one human never checks their own work.
    operator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="replicas"
    )
    state = models.CharField(max_length=20, choices=State.choices, default=State.LEASED)
    #: Random; the report must repeat it, so an old report proves nothing.
    nonce = models.CharField(max_length=32)
    assigned_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField()
    #: First heartbeat that named it.
    started_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    #: Per position of the chunk: [[class id, score, x, y, w, h], ...] in pixels, or
    #: [[class id, score], ...] of a `classify` job.
    answer = models.JSONField(null=True)
    compute_ms = models.PositiveIntegerField(null=True)
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.WORK)
    #: The node's checks for this model when the answer came, in tenths: what it was believed.
    checks_tenths = models.PositiveIntegerField(default=0)
    numeric_class = models.CharField(max_length=120, blank=True, default="")
    #: The node's own code for what went wrong, when it failed.
    error_code = models.CharField(max_length=40, blank=True, default="")
    #: The gold picture it was shown, and what it answered there.
    gold = models.ForeignKey(
        "tasks.GoldItem",
        on_delete=models.PROTECT,
        null=True,
        db_index=False,
        related_name="sightings",
    )
    gold_position = models.PositiveSmallIntegerField(null=True)
    gold_answer = models.JSONField(null=True)
    gold_outcome = models.CharField(
        max_length=10, choices=Gold.choices, blank=True, default=Gold.NONE
    )
    #: Its node was caught later: the answer counts only if others confirm it.
    doubted_at = models.DateTimeField(null=True)
    #: Its place among the node's accepted answers for the model, from 1.
    sequence = models.PositiveIntegerField(null=True)
    #: What the node signed: evidence for disputes. Several replicas may share a message.
    signed_report = models.ForeignKey(
        SignedReport, on_delete=models.PROTECT, null=True, db_index=False, related_name="replicas"
    )
    #: Checks its node was credited with for it, in tenths: it agreed, or passed a gold picture.
    credited_tenths = models.PositiveSmallIntegerField(default=0)
    #: The chunk's results were written from this answer. None of a chunk's replicas: from
    #: the referee's.
    is_canonical = models.BooleanField(default=False)
    #: One of `tasks.reasons.ReplicaReason` when rejected, failed, lost or cancelled.
    reason = models.CharField(max_length=40, blank=True, default="")
    #: What the operator earns if it is accepted, fixed when assigned.
    reward_minor = models.BigIntegerField()
    fee_minor = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["chunk", "operator"],
                condition=~Q(reason__in=ENDED_WITHOUT_ANSWER),
                name="replica_once_per_owner",
            ),
            models.UniqueConstraint(
                fields=["gold", "operator"],
                condition=Q(gold__isnull=False) & ~Q(reason__in=ENDED_WITHOUT_ANSWER),
                name="gold_once_per_owner",
            ),
        ]
        indexes = [
            # Read by sweeps: leases that ran out.
            models.Index(
                fields=["lease_expires_at", "id"],
                condition=Q(state="leased"),
                name="replica_open_lease",
            ),
            # Read by scheduling: what a node holds now.
            models.Index(
                fields=["node", "id"], condition=Q(state="leased"), name="replica_held_by_node"
            ),
            models.Index(fields=["job"], name="replica_by_job"),
            # Read by sweeps: jobs whose answers wait for others.
            models.Index(
                fields=["job", "id"], condition=Q(state="reported"), name="replica_undecided"
            ),
            models.Index(fields=["node", "-assigned_at", "-id"], name="replica_by_node"),
            # Read when evidence is archived.
            models.Index(
                fields=["signed_report"],
                condition=Q(signed_report__isnull=False),
                name="replica_by_evidence",
            ),
        ]

    def __str__(self) -> str:
        return f"replica {self.pk}"
