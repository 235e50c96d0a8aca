"""System checks: what may run to try things out must not run in production."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error

LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}

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
PLAIN_NODES = Error(
    "Nodes elsewhere would be told to connect without TLS.",
    hint="Set BROKER_NODE_URL to amqps://.",
    id="nodefolk.E006",
)
PLAIN_BROKER = Error(
    "The platform's own messages leave this machine without TLS.",
    hint="Set BROKER_URL and BROKER_INGEST_URL to amqps://.",
    id="nodefolk.E007",
)
NO_AUTHORITY = Error(
    "RabbitMQ does not ask the portal about nodes.",
    hint="Set BROKER_AUTHORITY and run `manage.py authority`.",
    id="nodefolk.E008",
)
SHORT_TOKEN = Error(
    "The scrape token can be guessed.",
    hint="Set NODEFOLK_METRICS_TOKEN to 32 random characters or more, or to nothing.",
    id="nodefolk.E009",
)
#: Characters of a secret that is chosen at random.
TOKEN_LENGTH_MIN = 32


def check_embedded_parts(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001  # Django's own signature
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    """Refuse the embedded parts, and secrets that are none, when debugging is off."""
    if settings.IS_TRIAL:
        return []
    found = [
        (SQLITE, settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")),
        (FILE_BROKER, _is_file_broker() or not settings.BROKER_MANAGEMENT_URL),
        (SECRET_KEY, settings.IS_SECRET_EMBEDDED),
        (EMAIL, settings.EMAIL_BACKEND.endswith("console.EmailBackend")),
        (SHORT_TOKEN, 0 < len(settings.METRICS_TOKEN) < TOKEN_LENGTH_MIN),
    ]
    return [error for error, is_found in found if is_found]


def check_transport(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001  # Django's own signature
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    """Refuse what would carry passwords and work in the clear when debugging is off."""
    if settings.IS_TRIAL:
        return []
    told = urlsplit(settings.BROKER_NODE_URL or settings.BROKER_URL)
    is_told_plain = told.scheme != "amqps" and told.hostname not in LOCAL_HOSTS
    ours = (settings.BROKER_URL, settings.BROKER_INGEST_URL)
    found = [
        (PLAIN_URL, not settings.PUBLIC_URL.startswith("https://")),
        (PLAIN_NODES, is_told_plain and not _is_file_broker()),
        (PLAIN_BROKER, not all(_is_private(url) for url in ours)),
        (NO_AUTHORITY, not settings.BROKER_AUTHORITY and not _is_file_broker()),
    ]
    return [error for error, is_found in found if is_found]


def _is_file_broker() -> bool:
    return bool(settings.BROKER_URL.startswith("filebroker:"))


def _is_private(url: str) -> bool:
    """Say whether it is encrypted, unset, or stays with us.

    A host without a dot is a neighbour on a private network, as in compose.yaml.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme != "amqp" or host in LOCAL_HOSTS or "." not in host
