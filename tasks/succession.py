"""The platform's next key, vouched for by the one before."""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings

from tasks import identity
from tasks.models import PlatformKeyChange
from workers.protocol import limits, messages, signatures

logger = logging.getLogger(__name__)


def change_platform_key(*, now: datetime) -> PlatformKeyChange:
    """Make a new key, sign it with the old one, and sign with the new one from now on.

    Nodes that pinned the old key ask for this statement when they see the new signature.
    A run that was cut short is finished by the next one.
    """
    old, draft = identity.platform_key(), identity.next_key_path()
    old_key = signatures.public_text(old)
    new_key = signatures.public_text(identity.read_key(draft))
    statement = messages.KeySuccession(sent_at=now, old_key=old_key, new_key=new_key)
    body = statement.model_dump_json()
    change, _ = PlatformKeyChange.objects.get_or_create(
        old_key=old_key,
        new_key=new_key,
        defaults={"body": body, "signature": signatures.sign(body.encode(), key=old)},
    )
    draft.replace(settings.PLATFORM_KEY_PATH)
    logger.warning("the platform's key is now %s", new_key)
    return change


def changes() -> list[PlatformKeyChange]:
    """Return how the first key became today's, oldest first; one query."""
    return list(PlatformKeyChange.objects.order_by("pk")[: limits.KEY_CHANGES_MAX])
