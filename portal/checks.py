"""What `manage.py check --deploy` refuses: plain connections and the embedded parts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import connection

LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}


def check_transport(**_: Any) -> list[CheckMessage]:
    """Refuse what would carry passwords and work in the clear."""
    found: list[CheckMessage] = []
    if urlsplit(settings.PUBLIC_URL).scheme != "https":
        found.append(Error("NODEFOLK_PUBLIC_URL must begin with https://.", id="nodefolk.E001"))
    if not settings.BROKER_URL.startswith("amqp"):
        return [
            *found,
            Error("BROKER_URL names the embedded broker, which has no users.", id="nodefolk.E002"),
        ]
    told = settings.BROKER_NODE_URL or settings.BROKER_URL
    if urlsplit(told).scheme != "amqps" and urlsplit(told).hostname not in LOCAL_HOSTS:
        found.append(
            Error("Nodes elsewhere need TLS: BROKER_NODE_URL must be amqps://.", id="nodefolk.E003")
        )
    found += [
        Error(f"{name} leaves this machine without TLS: use amqps.", id="nodefolk.E004")
        for name in ("BROKER_URL", "BROKER_INGEST_URL")
        if not _is_private(getattr(settings, name))
    ]
    if not settings.BROKER_AUTHORITY:
        found.append(
            Error(
                "BROKER_AUTHORITY is not set: RabbitMQ does not ask the portal about nodes.",
                id="nodefolk.E005",
            )
        )
    return found


def check_database(**_: Any) -> list[CheckMessage]:
    """Refuse SQLite, which has no row locks."""
    if connection.vendor == "sqlite":
        return [Error("DATABASE_URL names SQLite; use PostgreSQL.", id="nodefolk.E006")]
    return []


def _is_private(url: str) -> bool:
    """Say whether it is encrypted, unset, or stays with us.

    A host without a dot is a neighbour on a private network, as in compose.yaml.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme != "amqp" or host in LOCAL_HOSTS or "." not in host
