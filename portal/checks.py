"""System checks: what may run to try things out must not run in production."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error

SQLITE = Error(
    "SQLite serves one machine only.", hint="Set DATABASE_URL to PostgreSQL.", id="nodefolk.E001"
)
FILE_BROKER = Error(
    "The file broker knows no users, rights or limits.",
    hint="Set BROKER_URL and BROKER_MANAGEMENT_URL to RabbitMQ.",
    id="nodefolk.E002",
)
SECRET_KEY = Error(
    "The secret key was made by the embedded default.",
    hint="Set NODEFOLK_SECRET_KEY or NODEFOLK_SECRET_KEY_FILE.",
    id="nodefolk.E003",
)
EMAIL = Error(
    "E-mails are printed, not sent.", hint="Set NODEFOLK_EMAIL_BACKEND.", id="nodefolk.E004"
)
PLAIN_URL = Error(
    "The public URL is not HTTPS.", hint="Set NODEFOLK_PUBLIC_URL.", id="nodefolk.E005"
)


def check_embedded_parts(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001  # Django's own signature
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    """Refuse the embedded parts when debugging is off."""
    if settings.DEBUG:
        return []
    is_file_broker = settings.BROKER_URL.startswith("filebroker:")
    found = [
        (SQLITE, settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")),
        (FILE_BROKER, is_file_broker or not settings.BROKER_MANAGEMENT_URL),
        (SECRET_KEY, settings.IS_SECRET_EMBEDDED),
        (EMAIL, settings.EMAIL_BACKEND.endswith("console.EmailBackend")),
        (PLAIN_URL, not settings.PUBLIC_URL.startswith("https://")),
    ]
    return [error for error, is_found in found if is_found]
