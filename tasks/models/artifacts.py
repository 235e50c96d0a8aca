"""What work is made of: blobs, data sets of images, and the catalog of models."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from tasks import ids


class Blob(models.Model):
    """Bytes stored under their own SHA-256; never changed, shared by all who sent them.

    Invariant (doctor: blobs_present): the file exists in the default storage.
    """

    #: SHA-256 of the bytes, 64 lower-case hex digits.
    digest = models.CharField(primary_key=True, max_length=64)
    size_bytes = models.BigIntegerField()
    media_type = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(size_bytes__gt=0), name="blob_not_empty"),
        ]

    def __str__(self) -> str:
        return self.digest[:12]


class Dataset(models.Model):
    """A client's named set of images."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_dataset)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="datasets"
    )
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["owner", "-created_at", "-id"], name="dataset_by_owner")]

    def __str__(self) -> str:
        return self.name


class Image(models.Model):
    """One picture of a data set; width and height are as seen, after EXIF rotation."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_image)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="images")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="images")
    #: The file's own name, without folders.
    name = models.CharField(max_length=255)
    #: Pixels.
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "blob"], name="image_once_per_dataset"),
        ]

    def __str__(self) -> str:
        return self.name


class CatalogModel(models.Model):
    """A model that jobs can ask for. A new version is a new row; bytes never change.

    Without an owner it is the platform's own and public. A client's is private: only its
    owner sees and uses it (constraint model_private_has_owner).
    """

    class Kind(models.TextChoices):
        DETECT = "detect"  # boxes with a label and a score
        CLASSIFY = "classify"  # one label a picture

    class Visibility(models.TextChoices):
        PUBLIC = "public"  # everyone may use it
        PRIVATE = "private"  # its owner alone

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_model)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="catalog_models",
        null=True,
        blank=True,
    )
    visibility = models.CharField(
        max_length=10, choices=Visibility.choices, default=Visibility.PUBLIC
    )
    #: Short name used on the command line, for example `ssd-mobilenet-v2`.
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=200)
    version = models.CharField(max_length=40)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="catalog_models")
    #: Class id as text -> label, for example {"1": "person"}.
    labels = models.JSONField()
    licence = models.CharField(max_length=100)
    source = models.CharField(max_length=300)
    #: `workers.protocol.manifest.Contract`: how pictures go in and answers come out.
    tensor_contract = models.JSONField()
    #: What the check and the trial found: counts, bytes, milliseconds; empty for built-in ones.
    check_report = models.JSONField(default=dict, blank=True)
    #: Milliseconds an image takes on one thread of the platform's machine; sizes chunks.
    image_ms = models.PositiveIntegerField(default=100)
    is_offered = models.BooleanField(default=True)
    #: Its numbers differ between processors (8-bit arithmetic): answers are compared only
    #: within one numeric class.
    is_class_pinned = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["slug", "blob"],
                condition=models.Q(owner=None),
                name="model_version_once",
            ),
            models.CheckConstraint(
                condition=models.Q(visibility="public") | models.Q(owner__isnull=False),
                name="model_private_has_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
