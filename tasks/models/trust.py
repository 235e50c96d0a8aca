"""What the platform believes of nodes, and how it found out."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tasks.models.artifacts import Blob, CatalogModel
from tasks.models.jobs import Chunk, Item
from tasks.models.nodes import Node
from tasks.models.replicas import Replica


class Credibility(models.Model):
    """How far a node's unchecked answers for one model version can be believed.

    `checks_tenths` / 10 is the k of `verification.credibility`. Counters are kept by
    conditional updates in the transaction that makes the check.
    """

    class State(models.TextChoices):
        PROBATION = "probation"  # too few checks to be believed alone
        TRUSTED = "trusted"  # may be believed alone in some tier
        WATCHED = "watched"  # one strike lately: starts again from nothing
        QUARANTINED = "quarantined"  # a second strike: no work until `barred_until`
        BANNED = "banned"  # a third strike: no work until staff decide

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="credibilities")
    model = models.ForeignKey(CatalogModel, on_delete=models.CASCADE, related_name="credibilities")
    state = models.CharField(max_length=20, choices=State.choices, default=State.PROBATION)
    #: Checks passed since the last strike, in tenths: agreeing on nothing found counts 1.
    checks_tenths = models.PositiveIntegerField(default=0)
    #: Accepted answers ever; the newest one's `Replica.sequence`.
    answers = models.PositiveIntegerField(default=0)
    strikes = models.PositiveSmallIntegerField(default=0)
    struck_at = models.DateTimeField(null=True)
    barred_until = models.DateTimeField(null=True)
    #: Since when staff keep it from the model, its answers not believed; no strike.
    quarantined_at = models.DateTimeField(null=True)
    quarantine_note = models.CharField(max_length=200, blank=True, default="")
    #: Chunks it may hold at one time for this model: doubles on success, shrinks on errors.
    quota = models.PositiveIntegerField(default=4)
    #: Milliseconds an image took lately, exponential mean over accepted work; null: unknown.
    image_ms = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["node", "model"], name="credibility_once"),
            models.CheckConstraint(condition=Q(quota__gte=1), name="credibility_quota_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.node_id} on {self.model_id}"


class GoldItem(models.Model):
    """A picture whose answer is known, because the referee computed it.

    Made from an accepted result's picture, altered, so its bytes are known to no node.
    Invariants: gold_in_one_chunk (on `Chunk`), so that no two chunks share a picture;
    gold_once_per_owner (on `Replica`); gold_uses_bounded.
    """

    USES_MAX = 50

    model = models.ForeignKey(CatalogModel, on_delete=models.CASCADE, related_name="gold")
    #: The altered picture.
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="gold")
    source = models.ForeignKey(Item, on_delete=models.SET_NULL, null=True, related_name="gold")
    #: Pixels.
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    #: The referee's answer, one picture of `Replica.answer`.
    expected = models.JSONField()
    #: What the referee's numbers depended on; compared where a model is bound to a class.
    numeric_class = models.CharField(max_length=120, blank=True, default="")
    #: Replicas it was shown to, all of one chunk; 0: not in any chunk yet.
    uses = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "blob"], name="gold_once_per_model"),
            models.CheckConstraint(condition=Q(uses__lte=50), name="gold_uses_bounded"),
        ]
        indexes = [
            # Read by verification.gold.
            models.Index(
                fields=["model", "uses", "id"], condition=Q(uses__lt=50), name="gold_usable"
            ),
        ]

    def __str__(self) -> str:
        return f"gold {self.pk}"


class Strike(models.Model):
    """A node gave a wrong answer, confirmed by the referee; the consequences follow.

    A fact, inserted once by whoever finds it (strike_once); `verification.strikes`
    carries it out and sets `enforced_at`. `overturned_at`: an appeal was upheld. A near miss
    is a mere warning at first: never counted, and nothing else of its node is doubted.
    """

    class Cause(models.TextChoices):
        GOLD = "gold"  # a picture whose answer is known
        AUDIT = "audit"  # an accepted answer computed again
        REFEREE = "referee"  # the referee decided a disagreement
        NEAR = "near"  # it differs within the loose tolerances: other digits, hardly a lie

    replica = models.OneToOneField(Replica, on_delete=models.CASCADE, related_name="strike")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="strikes")
    model = models.ForeignKey(CatalogModel, on_delete=models.CASCADE, related_name="strikes")
    cause = models.CharField(max_length=10, choices=Cause.choices)
    created_at = models.DateTimeField()
    enforced_at = models.DateTimeField(null=True)
    #: Checks its node lost by it; given back when an appeal is upheld.
    lost_tenths = models.PositiveIntegerField(default=0)
    #: Accepted answers its node had for the model when it was carried out.
    answers = models.PositiveIntegerField(default=0)
    #: It counted towards quarantine and ban: the answer was given after the strike before.
    is_counted = models.BooleanField(default=False)
    overturned_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(enforced_at=None), name="strike_waiting"),
            models.Index(fields=["node", "-id"], name="strike_by_node"),
        ]

    def __str__(self) -> str:
        return f"strike {self.pk} on {self.node_id}"

    @property
    def is_warning(self) -> bool:
        """Whether it threw doubt on nothing else; known once it is carried out."""
        return self.cause == self.Cause.NEAR and not self.is_counted


class Apart(models.Model):
    """Two owners whose nodes agreed on a wrong answer; never asked about one chunk again."""

    first = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="apart_first"
    )
    second = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="apart_second"
    )
    chunk = models.ForeignKey(Chunk, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="apart_once"),
            models.CheckConstraint(
                condition=Q(first__lt=models.F("second")), name="apart_in_order"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.first_id} apart from {self.second_id}"


class Appeal(models.Model):
    """An operator's word against a refusal, once a replica: the referee first, then staff."""

    class State(models.TextChoices):
        REFEREE = "referee"  # the referee is asked
        STAFF = "staff"  # the referee confirmed the refusal; a person decides
        UPHELD = "upheld"  # the operator was right: paid, credibility restored
        DENIED = "denied"  # the refusal stands

    replica = models.OneToOneField(Replica, on_delete=models.CASCADE, related_name="appeal")
    operator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="appeals"
    )
    text = models.CharField(max_length=1000, blank=True, default="")
    state = models.CharField(max_length=10, choices=State.choices, default=State.REFEREE)
    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    #: What the operator is told beside the decision.
    note = models.CharField(max_length=500, blank=True, default="")
    #: Staff who decided; null when the referee did.
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at", "id"],
                condition=Q(state__in=["referee", "staff"]),
                name="appeal_open",
            ),
        ]

    def __str__(self) -> str:
        return f"appeal {self.pk}"
