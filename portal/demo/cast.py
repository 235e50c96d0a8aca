"""The demo's users: one login for each role, and an owner for each node."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from payments import ledger
from portal import keys
from portal.models import KycCase, User

#: What the demo's client may spend, minor units.
FUNDS_MINOR = 1000 * 10**7
KEY_LIFE = timedelta(days=30)
KEY_NAME = "demo"

ROLES = {
    "client": {"is_client": True},
    "operator": {"is_operator": True, "is_client": False},
    "annotator": {"is_annotator": True, "is_client": False},
    "staff": {"is_staff": True, "is_superuser": True},
}


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to be this user; made anew at each start."""

    user_id: int
    email: str
    password: str
    api_key: str


def prepare(*, nodes: int, now: datetime) -> dict[str, Login]:
    """Make or renew the users; keys are the roles, and operator-2, operator-3, ...

    Nodes check each other only across owners, so each node has an owner of its own.
    """
    logins = {role: _prepare(role, fields, now=now) for role, fields in ROLES.items()}
    for number in range(2, nodes + 1):
        name = f"operator-{number}"
        logins[name] = _prepare(name, ROLES["operator"], now=now)
    ledger.deposit(owner_id=logins["client"].user_id, amount_minor=FUNDS_MINOR, key="demo", now=now)
    return logins


def _prepare(name: str, fields: dict[str, bool], *, now: datetime) -> Login:
    email, password = f"{name}@nodefolk.example", secrets.token_urlsafe(12)
    with transaction.atomic():
        user, _ = User.objects.update_or_create(email=email, defaults=fields)
        user.set_password(password)
        user.save(update_fields=["password"])
        KycCase.objects.update_or_create(
            user=user,
            defaults={
                "status": KycCase.Status.APPROVED,
                "level": 1,
                "full_name": name.title(),
                "decided_at": now,
            },
        )
        user.api_keys.filter(name=KEY_NAME, revoked_at=None).update(revoked_at=now)
        created = keys.create(
            user=user,
            name=KEY_NAME,
            scopes=list(keys.SCOPES),
            expires_at=now + KEY_LIFE,
            now=now,
        )
    return Login(user_id=user.pk, email=email, password=password, api_key=created.secret)
