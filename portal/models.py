"""People: users with roles, their API keys, their identity checks; replayed requests."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Now

from tasks import ids
from tasks.models import Job


class UserManager(BaseUserManager["User"]):
    """Makes users by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user; the address is stored with a lower-case domain."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a member of staff who may do everything."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """Someone who signs in. One user may hold several roles."""

    email = models.EmailField(unique=True)
    is_client = models.BooleanField(default=True)
    is_operator = models.BooleanField(default=False)
    is_annotator = models.BooleanField(default=False)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    #: What the account is for, in the client's own word; each job keeps what it was then.
    client_category = models.CharField(
        max_length=20,
        choices=Job.ClientCategory.choices,
        default=Job.ClientCategory.UNDECLARED,
        db_default=Job.ClientCategory.UNDECLARED,
    )
    #: Staff have looked at it: the client's own word no longer changes it.
    is_category_fixed = models.BooleanField(default=False, db_default=False)
    joined_at = models.DateTimeField(db_default=Now())

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    def __str__(self) -> str:
        return self.email

    @property
    def roles(self) -> list[str]:
        """Names of the roles held, in a fixed order."""
        held = {
            "client": self.is_client,
            "operator": self.is_operator,
            "annotator": self.is_annotator,
            "staff": self.is_staff,
        }
        return [name for name, is_held in held.items() if is_held]


class KycCase(models.Model):
    """What is known of the human behind a user. No documents are kept."""

    class Status(models.TextChoices):
        NONE = "none"  # nothing handed in
        PENDING = "pending"  # waits for staff
        APPROVED = "approved"  # a person: may enrol nodes, label, be paid
        REJECTED = "rejected"  # refused; may try again

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="kyc")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.NONE)
    #: 0 nothing, 1 identity known.
    level = models.PositiveSmallIntegerField(default=0)
    full_name = models.CharField(max_length=200, blank=True, default="")
    #: ISO 3166-1 alpha-2.
    country = models.CharField(max_length=2, blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="")
    decided_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="kyc_decisions"
    )
    submitted_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "identity check"
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(status="approved") | models.Q(level__gte=1),
                name="kyc_approved_has_level",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.status}"


class ApiKey(models.Model):
    """A secret that speaks for a user through the API; only its hash is kept."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.new_key)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    #: First characters, shown so that the owner knows which key it is.
    prefix = models.CharField(max_length=20)
    #: SHA-256 of the whole key, hex: the key has 256 random bits, so a slow hash adds nothing.
    key_hash = models.CharField(max_length=64, unique=True)
    #: Subset of `portal.keys.SCOPES`.
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.prefix


class IdempotencyRecord(models.Model):
    """The first answer to a POST with an `Idempotency-Key`, kept to be given again."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="idempotency_records")
    key = models.CharField(max_length=200)
    #: SHA-256 over method, path and body.
    fingerprint = models.CharField(max_length=64)
    #: Null while the first request is still running.
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once"),
        ]

    def __str__(self) -> str:
        return self.key
