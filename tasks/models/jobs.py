"""A job and what it is made of: chunks, items, events."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from tasks import ids
from tasks.models.artifacts import Blob, CatalogModel, Dataset, Image


class Job(models.Model):
    """What a client bought. Counters are kept by conditional updates, never recounted.

    Invariants (doctor: job_counters_match): items_provisional + items_final + items_failed
    <= items_total (job_items_within_total), and the counters equal the rows of `Item`.
    """

    class Kind(models.TextChoices):
        DETECT = "detect"  # boxes on pictures
        CLASSIFY = "classify"  # one label a picture

    class State(models.TextChoices):
        QUEUED = "queued"  # paid for and announced, no node has started
        RUNNING = "running"  # at least one assignment went out
        PAUSED = "paused"  # the client wants no new assignments for now
        FINISHED = "finished"  # each item has a result or failed; the rest was returned
        CANCELLED = "cancelled"  # stopped by the client; results so far stay
        FAILED = "failed"  # no item could be computed

    class Mode(models.TextChoices):
        NORMAL = "normal"  # as many checks as the target error needs
        RACE = "race"  # several nodes at once, the first valid answer wins

    class Smoke(models.TextChoices):
        NONE = "none", "Not tested first: few pictures, and a model that is known to work."
        RUNNING = "running", "One chunk is tried by the referee and three nodes."
        PASSED = "passed", "The trial chunk agreed; the rest was released."
        FAILED = "failed", "The trial chunk did not agree; the job ended, not charged."

    class ClientCategory(models.TextChoices):
        UNDECLARED = "undeclared", "Not said"
        RESEARCH = "research", "Research"
        EDUCATION = "education", "Education"
        NONPROFIT = "nonprofit", "Non-profit"
        GOVERNMENT = "government", "Government"
        COMMERCIAL = "commercial", "Commercial"
        PERSONAL = "personal", "Personal"

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_job)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="jobs")
    model = models.ForeignKey(CatalogModel, on_delete=models.PROTECT, related_name="jobs")
    #: "1e-2", "1e-3" or "1e-4".
    target_error = models.CharField(max_length=8)
    #: Replicas paid from the job's own money for each chunk; more are the platform's risk.
    replicas_planned = models.PositiveSmallIntegerField()
    #: Detections below this score (0..1) are not reported to the client.
    score_threshold = models.FloatField()
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.NORMAL)
    #: What the client's account was for when the job was bought; nodes may be kept from it.
    client_category = models.CharField(
        max_length=20,
        choices=ClientCategory.choices,
        default=ClientCategory.UNDECLARED,
        db_default=ClientCategory.UNDECLARED,
    )
    metadata = models.JSONField(default=dict)

    #: All money in minor units (10^-7); fixed when the job was submitted.
    price_minor = models.BigIntegerField()
    reward_image_minor = models.BigIntegerField()
    fee_image_minor = models.BigIntegerField()

    state = models.CharField(max_length=20, choices=State.choices, default=State.QUEUED)
    #: Why the job waits, one of `tasks.reasons.JobReason`; empty when it does not.
    reason = models.CharField(max_length=40, blank=True, default="")
    #: Raised by each change that a page shows; polls compare it.
    version = models.PositiveIntegerField(default=0)

    items_total = models.PositiveIntegerField()
    items_provisional = models.PositiveIntegerField(default=0)
    items_final = models.PositiveIntegerField(default=0)
    items_failed = models.PositiveIntegerField(default=0)
    disagreements = models.PositiveIntegerField(default=0)
    #: Checks made: gold pictures answered, accepted answers computed again by another owner,
    #: chunks the referee computed, results that changed after a node was caught.
    gold_checks = models.PositiveIntegerField(default=0)
    audits = models.PositiveIntegerField(default=0)
    audits_failed = models.PositiveIntegerField(default=0)
    referee_runs = models.PositiveIntegerField(default=0)
    corrections = models.PositiveIntegerField(default=0)

    #: Weight among jobs that wait: 0 when there is nothing else, 1 as usual, 2 first.
    priority = models.PositiveSmallIntegerField(default=1)
    #: Only the first chunk is given out until the smoke test has passed.
    smoke = models.CharField(max_length=10, choices=Smoke.choices, default=Smoke.NONE)

    submitted_at = models.DateTimeField()
    #: First announcement; acks are timed from it.
    announced_at = models.DateTimeField(null=True)
    #: Latest announcement; sweeps repeat it while no node can take what is ready.
    announced_again_at = models.DateTimeField(null=True)
    #: When it last got nothing although it had work to give; those come after the others.
    passed_over_at = models.DateTimeField(null=True)
    #: Buckets of nodes told so far (`tasks.samples`); 0 while everybody is.
    buckets_told = models.PositiveIntegerField(default=0)
    #: Nodes that were online and ready when it was announced to them first.
    nodes_asked = models.PositiveIntegerField(default=0)
    first_result_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    #: When the rows of its work were exported and removed (`tasks.attic`).
    archived_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(price_minor__gt=0), name="job_price_positive"),
            models.CheckConstraint(
                condition=Q(
                    items_total__gte=F("items_provisional") + F("items_final") + F("items_failed")
                ),
                name="job_items_within_total",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-submitted_at", "-id"], name="job_by_owner"),
            models.Index(
                fields=["submitted_at", "id"],
                condition=Q(state__in=["queued", "running", "paused"]),
                name="job_open",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class Chunk(models.Model):
    """A few images of one job, computed together by one node at a time.

    Invariant (constraint chunk_granted_within_wanted): never more replicas are out or in
    than are wanted, so two schedulers cannot both take the last slot.
    """

    class State(models.TextChoices):
        OPEN = "open"  # not decided yet
        PROVISIONAL = "provisional"  # accepted; items have results that may be rechecked
        FINAL = "final"  # settled: the hold window is over
        FAILED = "failed"  # no agreement after all retries
        CANCELLED = "cancelled"  # the job was cancelled first

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    index = models.PositiveIntegerField()
    items_count = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=20, choices=State.choices, default=State.OPEN)
    #: Replicas needed to decide, as far as known; raised when answers disagree.
    wanted = models.PositiveSmallIntegerField()
    #: Replicas out with a lease or in with an answer; lost ones are taken off.
    granted = models.PositiveSmallIntegerField(default=0)
    #: What the next replicas are for (`Replica.Purpose`).
    purpose = models.CharField(max_length=10, default="work")
    #: The only numeric class that may answer, where comparing is loose; empty: any.
    numeric_class = models.CharField(max_length=120, blank=True, default="")
    #: A picture whose answer is known, shown among the others at this place; chosen once.
    gold = models.ForeignKey(
        "tasks.GoldItem",
        on_delete=models.PROTECT,
        null=True,
        db_index=False,
        related_name="chunks",
    )
    gold_position = models.PositiveSmallIntegerField(null=True)
    #: Owners whose believed answers staff want behind the result; 0: as the policy says.
    owners_wanted = models.PositiveSmallIntegerField(default=0)
    #: When the referee was asked, when it answered and what: as `Replica.answer`, or a code.
    referee_asked_at = models.DateTimeField(null=True)
    referee_at = models.DateTimeField(null=True)
    referee_answer = models.JSONField(null=True)
    referee_error = models.CharField(max_length=40, blank=True, default="")
    #: One of `tasks.reasons.ChunkReason`; empty while open and after agreement.
    reason = models.CharField(max_length=40, blank=True, default="")
    #: When the result that stands was accepted.
    decided_at = models.DateTimeField(null=True)
    #: When a provisional chunk becomes final if nobody is caught.
    settles_at = models.DateTimeField(null=True)
    #: Times its result was called into question after it had been accepted.
    rechecks = models.PositiveSmallIntegerField(default=0)
    #: When believed answers first differed; null: never.
    disagreed_at = models.DateTimeField(null=True)
    #: A fact came after it was accepted, and nobody has looked at it yet.
    stirred_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "index"], name="chunk_index_once"),
            models.UniqueConstraint(
                fields=["gold"], condition=Q(gold__isnull=False), name="gold_in_one_chunk"
            ),
            models.CheckConstraint(
                condition=Q(granted__lte=F("wanted")), name="chunk_granted_within_wanted"
            ),
        ]
        indexes = [
            # Read by scheduling: chunks that still want replicas, accepted ones for a check.
            models.Index(
                fields=["job", "id"],
                condition=Q(state__in=["open", "provisional"], granted__lt=F("wanted")),
                name="chunk_ready",
            ),
            models.Index(fields=["job", "id"], condition=Q(state="open"), name="chunk_open"),
            # Read by scheduling: accepted chunks that another owner should compute again.
            models.Index(
                fields=["id"],
                condition=Q(state="provisional", granted__lt=F("wanted")),
                name="chunk_checking",
            ),
            # Read by verification.finality.
            models.Index(
                fields=["settles_at", "id"],
                condition=Q(state="provisional"),
                name="chunk_settling",
            ),
            # Read by sweeps: accepted ones that must be looked at again.
            models.Index(
                fields=["stirred_at", "id"],
                condition=Q(state="provisional", stirred_at__isnull=False),
                name="chunk_stirred",
            ),
            # Read by sweeps: the referee was asked and has not answered.
            models.Index(
                fields=["referee_asked_at", "id"],
                condition=Q(referee_asked_at__isnull=False, referee_at=None),
                name="chunk_refereeing",
            ),
            # Read by the referee: what it computed in the last hour.
            models.Index(
                fields=["referee_at"],
                condition=Q(referee_at__isnull=False),
                name="chunk_refereed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}#{self.index}"


class Item(models.Model):
    """One picture in one job, and its result.

    `detections` is a list of {label, score, box: [x, y, w, h]} in pixels of the picture as
    seen, highest score first; null until decided. `classes`: of a `classify` job, a list of
    {label, score}, likeliest first; null else.
    """

    class State(models.TextChoices):
        WAITING = "waiting"  # no accepted answer yet
        PROVISIONAL = "provisional"  # accepted, may still be rechecked
        FINAL = "final"  # settled
        FAILED = "failed"  # no agreed answer

    class Source(models.TextChoices):
        MACHINE = "machine"  # nodes agreed
        HUMAN = "human"  # people reviewed it

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items", db_index=False)
    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="items", db_index=False)
    image = models.ForeignKey(Image, on_delete=models.PROTECT, related_name="items", db_index=False)
    #: Place in the chunk, from 0.
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=20, choices=State.choices, default=State.WAITING)
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.MACHINE)
    detections = models.JSONField(null=True)
    classes = models.JSONField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "image"], name="item_once_per_job"),
            models.UniqueConstraint(fields=["chunk", "position"], name="item_place_once"),
        ]
        # Its other keys lead constraints.
        indexes = [models.Index(fields=["image"], name="item_by_image")]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.image_id}"


class JobEvent(models.Model):
    """Something that happened to a job, told to its client."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_index=False)
    #: One of `tasks.reasons.EventCode`.
    code = models.CharField(max_length=40)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["job", "-id"], name="event_by_job")]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.code}"


class JobArchive(models.Model):
    """A file of rows that were removed with an ended job; see `tasks.attic`."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="archives", db_index=False)
    part = models.PositiveIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    #: The job's last receipt, as it was before the first row was removed.
    receipt = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    rows = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "part"], name="archive_part_once")]

    def __str__(self) -> str:
        return f"{self.job_id}, part {self.part}"
