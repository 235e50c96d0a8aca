"""Whether a user is a known person: handed in by the user, decided by staff."""

from __future__ import annotations

import logging
from datetime import datetime

from portal import countries
from portal.models import KycCase, User
from tasks.errors import Refused

logger = logging.getLogger(__name__)

NAME_LENGTH_MIN, NAME_LENGTH_MAX = 3, 200
NOTE_LENGTH_MAX = 300


class BadName(Refused):
    """A full name has 3 to 200 printable characters."""

    code, field = "invalid_name", "full_name"


class UnknownCountry(Refused):
    """The country is not an ISO 3166-1 code."""

    code, field = "unknown_country", "country"


class AlreadySubmitted(Refused):
    """The identity waits for staff or is approved already."""

    code, status = "already_submitted", 409


class NotPending(Refused):
    """There is no identity check of the user that waits for a decision."""

    code, status = "not_pending", 409


class OwnCase(Refused):
    """Nobody decides about themselves."""

    code, status = "own_case", 403


def status(user: User) -> KycCase:
    """Return the user's case, or an unsaved empty one."""
    return KycCase.objects.filter(user=user).first() or KycCase(user=user)


def is_person(user: User) -> bool:
    """Tell whether the user may enrol nodes, label and be paid out. One query."""
    return KycCase.objects.filter(user=user, status=KycCase.Status.APPROVED).exists()


def submit(*, user: User, full_name: str, country: str, now: datetime) -> KycCase:
    """Hand in an identity for staff to check; after a rejection one may try again.

    Raises:
        BadName, UnknownCountry: nothing was changed.
        AlreadySubmitted: it is pending or approved.
    """
    name = " ".join(full_name.split())
    if not NAME_LENGTH_MIN <= len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise BadName(f"A full name has {NAME_LENGTH_MIN} to {NAME_LENGTH_MAX} characters.")
    if country not in countries.NAMES:
        raise UnknownCountry("Choose a country of the list.")
    KycCase.objects.get_or_create(user=user)
    moved = KycCase.objects.filter(
        user=user, status__in=[KycCase.Status.NONE, KycCase.Status.REJECTED]
    ).update(
        status=KycCase.Status.PENDING,
        full_name=name,
        country=country,
        note="",
        submitted_at=now,
        decided_at=None,
        decided_by=None,
    )
    if moved == 0:
        raise AlreadySubmitted("Your identity is being checked or is approved already.")
    logger.info("identity submitted", extra={"user_id": user.pk})
    return KycCase.objects.get(user=user)


def approve(*, user_id: int, staff: User, now: datetime) -> KycCase:
    """Declare the user a known person.

    Raises:
        NotPending, OwnCase: nothing was changed.
    """
    return _decide(user_id, staff=staff, status=KycCase.Status.APPROVED, level=1, note="", now=now)


def reject(*, user_id: int, staff: User, now: datetime, note: str = "") -> KycCase:
    """Refuse the identity; the user is shown the note and may try again.

    Raises:
        NotPending, OwnCase: nothing was changed.
    """
    return _decide(
        user_id,
        staff=staff,
        status=KycCase.Status.REJECTED,
        level=0,
        note=note[:NOTE_LENGTH_MAX],
        now=now,
    )


def _decide(
    user_id: int, *, staff: User, status: KycCase.Status, level: int, note: str, now: datetime
) -> KycCase:
    if staff.pk == user_id:
        raise OwnCase("Somebody else has to decide about you.")
    moved = KycCase.objects.filter(user_id=user_id, status=KycCase.Status.PENDING).update(
        status=status, level=level, note=note, decided_by=staff, decided_at=now
    )
    if moved == 0:
        raise NotPending("No identity check of this user waits for a decision.")
    logger.info("identity %s", status.value, extra={"user_id": user_id, "staff_id": staff.pk})
    return KycCase.objects.get(user_id=user_id)
