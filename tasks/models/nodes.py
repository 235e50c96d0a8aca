"""Machines that compute, and the one-time tokens that let them in."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from tasks import ids


class Node(models.Model):
    """A volunteer's machine, known by its Ed25519 key.

    Invariant (doctor: open_leases_have_nodes): a retired or suspended node holds no lease.
    """

    class State(models.TextChoices):
        ACTIVE = "active"  # gets work whenever it says it is free
        PAUSED = "paused"  # its operator wants no work for now
        SUSPENDED = "suspended"  # staff stopped it; the broker refuses it
        RETIRED = "retired"  # gone for good; the broker refuses it

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_node)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="nodes"
    )
    name = models.CharField(max_length=80)
    #: Base64 of the 32 raw Ed25519 bytes.
    public_key = models.CharField(max_length=44)
    #: What the node said of itself at enrolment: cores, memory_bytes, ...
    hardware = models.JSONField(default=dict)
    state = models.CharField(max_length=20, choices=State.choices, default=State.ACTIVE)
    state_changed_at = models.DateTimeField(null=True)
    #: Why it is suspended (`NodeReason`), empty when staff gave no other reason.
    state_reason = models.CharField(max_length=40, blank=True, default="")
    #: Since when staff let it have no new work, what its operator is told of it, and since
    #: when its answers are not believed; see `tasks.operations`.
    drained_at = models.DateTimeField(null=True)
    drain_note = models.CharField(max_length=200, blank=True, default="")
    quarantined_at = models.DateTimeField(null=True)
    quarantine_note = models.CharField(max_length=200, blank=True, default="")
    #: Salted hash of its broker password (`tasks.passwords`); the password is shown once.
    broker_password_hash = models.CharField(max_length=64, blank=True, default="")
    #: Since when the broker has to be told of state or key (`tasks.admission`); null: it was.
    broker_behind_since = models.DateTimeField(null=True)
    #: The node's own clock in its newest request for other keys; an older one is a replay.
    rotation_sent_at = models.DateTimeField(null=True)
    #: The node's own reason for not working, from its last heartbeat; empty when it works.
    reason = models.CharField(max_length=40, blank=True, default="")
    #: Assignments it can hold at one time, from its last message.
    slots = models.PositiveIntegerField(default=1)
    #: Digests of the models in its cache, from its last heartbeat.
    cached_models = models.JSONField(default=list)
    #: ONNX Runtime version, provider, optimisation level and ISA: what numbers depend on.
    numeric_class = models.CharField(max_length=120, blank=True, default="")
    software_version = models.CharField(max_length=40, blank=True, default="")
    #: The network it speaks from, "203.0.113.0/24"; empty while unknown or private.
    network = models.CharField(max_length=50, blank=True, default="")
    #: Limits the operator set on the node's page (`Allowance`); the machine's file may be
    #: stricter still.
    wishes = models.JSONField(default=dict)
    #: Counts changes of pause and wishes; the node names the newest it has.
    settings_revision = models.PositiveIntegerField(default=0)
    settings_seen = models.PositiveIntegerField(default=0)
    #: What the machine's own file allows and how fast a slot is, from its last `Profile`.
    profile = models.JSONField(default=dict)
    last_seen_at = models.DateTimeField(null=True)
    #: The node's own clock in its newest heartbeat; an older one is a replay.
    heartbeat_sent_at = models.DateTimeField(null=True)
    #: How far its clock was ahead of ours when its newest heartbeat came, milliseconds; what
    #: the message took is in it. Also of heartbeats that were refused for it.
    clock_skew_ms = models.BigIntegerField(null=True)
    enrolled_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["public_key"], name="node_key_once"),
        ]
        indexes = [
            models.Index(fields=["owner", "-enrolled_at", "-id"], name="node_by_owner"),
            models.Index(
                fields=["broker_behind_since", "id"],
                name="node_broker_behind",
                condition=models.Q(broker_behind_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class EnrollmentToken(models.Model):
    """A secret an operator copies to a machine; good once, for a short time."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="enrollment_tokens"
    )
    #: SHA-256 of the token, hex; the token itself is shown once and not kept.
    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    node = models.OneToOneField(Node, on_delete=models.SET_NULL, null=True, related_name="token")

    def __str__(self) -> str:
        return f"token {self.token_hash[:8]}"


class PlatformKeyChange(models.Model):
    """The platform's old key saying which one follows it; nodes that pinned the old one ask.

    Invariant: the chain has no forks (`platform_key_once`, `platform_key_followed_once`).
    """

    #: Base64 of the 32 raw Ed25519 bytes, both.
    old_key = models.CharField(max_length=44)
    new_key = models.CharField(max_length=44)
    #: `workers.protocol.messages.KeySuccession` as JSON, and the old key's signature over it.
    body = models.TextField()
    signature = models.CharField(max_length=88)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["old_key"], name="platform_key_followed_once"),
            models.UniqueConstraint(fields=["new_key"], name="platform_key_once"),
        ]

    def __str__(self) -> str:
        return f"{self.old_key[:8]} to {self.new_key[:8]}"
