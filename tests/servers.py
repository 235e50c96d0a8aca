"""A database and a virtual host of one's own on the servers that the tests run on."""

from __future__ import annotations

import os
import secrets
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg2

from portal.demo import stack


def own_database() -> dict[str, str]:
    """Make a fresh database on the server the tests run on; SQLite needs only its folder."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        return {"DATABASE_URL": ""}
    name = f"test_{secrets.token_hex(4)}"
    parts = urlsplit(url)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
    return {"DATABASE_URL": urlunsplit(parts._replace(path=f"/{name}"))}


def own_broker() -> dict[str, str]:
    """Make a fresh virtual host and platform user; the file broker needs only its folder."""
    url = os.environ.get("BROKER_URL", "")
    if not url.startswith("amqp"):
        return dict.fromkeys(stack.SERVER_VARIABLES[1:], "")
    name, password = f"test-{secrets.token_hex(4)}", secrets.token_hex(12)
    address = urlsplit(url).netloc.rpartition("@")[2]
    management = httpx.URL(os.environ["BROKER_MANAGEMENT_URL"])
    with httpx.Client(
        base_url=management.copy_with(username=None, password=None),
        auth=(management.username, management.password),
    ) as api:
        api.put(f"/api/vhosts/{name}").raise_for_status()
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put(f"/api/permissions/{name}/{management.username}", json=rights).raise_for_status()
    return {
        "BROKER_URL": f"amqp://{name}:{password}@{address}/{name}",
        "BROKER_INGEST_URL": f"amqp://{name}-ingest:{password}@{address}/{name}",
    }
