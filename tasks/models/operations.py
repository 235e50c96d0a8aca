"""What staff do, and how the platform as a whole stands."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Platform(models.Model):
    """The one row about all of it (platform_is_one)."""

    #: Of the only row.
    THE_ONE = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    #: Since when no new work is given out; null: it is.
    drained_at = models.DateTimeField(null=True)
    drain_note = models.CharField(max_length=200, blank=True, default="")
    #: When the newest sweep ended and how much it found, by step (`tasks.sweeps.Swept`).
    swept_at = models.DateTimeField(null=True)
    swept = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="platform_is_one")]

    def __str__(self) -> str:
        return "the platform"


class StaffAction(models.Model):
    """Who of the staff did what, written with it in one transaction; never changed."""

    class Verb(models.TextChoices):
        DRAIN = "drain", "Drained: no new work, what runs is finished."
        UNDRAIN = "undrain", "Given work again."
        QUARANTINE = "quarantine", "Quarantined: its answers are not believed."
        LIFT = "lift", "Quarantine lifted: believed as before."
        REVERIFY = "reverify", "Accepted results computed again."
        REPLAY = "replay", "Rebuilt from the rows and sent again."
        RETAKE = "retake", "A kept message taken in again."

    staff = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    verb = models.CharField(max_length=12, choices=Verb.choices)
    #: What it was done to: "platform", or the id of a node, job, chunk or message.
    target = models.CharField(max_length=60)
    note = models.CharField(max_length=200, blank=True, default="")
    #: How much it came to, by what.
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["target", "-id"], name="staff_action_by_target")]

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"
