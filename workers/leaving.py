"""Leaving for good: the portal retires the node first, then its secrets go from this disk."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import httpx

from workers import config, identity
from workers.config import Home
from workers.protocol import messages, routes, signatures

TIMEOUT_SECONDS = 30


class NotReleased(Exception):
    """The portal did not retire the node; nothing here was removed."""


def leave(home: Home) -> None:
    """Retire this node at the portal, then remove its key, login and cache.

    Raises:
        NotReleased: nothing was removed; trying again is safe.
        config.NotEnrolled, config.Damaged, identity.BadKeyFile.
    """
    settings = config.read(home)
    key = identity.load_key(home.key_file)
    request = messages.Leave(sent_at=datetime.now(UTC), node=settings.node_id)
    body = request.model_dump_json().encode()
    url = f"{settings.portal_url.rstrip('/')}{routes.leave_path(settings.node_id)}"
    headers = {
        "Content-Type": "application/json",
        signatures.HTTP_HEADER: signatures.sign(body, key=key),
    }
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise NotReleased(f"The portal at {url} cannot be reached: {exc}.") from exc
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise NotReleased(f"The portal refused (HTTP {answer.status_code}); nothing was removed.")
    _remove(home)


def _remove(home: Home) -> None:
    """Remove what the node owns here; limits.toml stays, it is the operator's."""
    for path in (
        home.key_file,
        home.config_file,
        home.state_file,
        home.settings_file,
        home.benchmark_file,
        home.pause_file,
    ):
        path.unlink(missing_ok=True)
    for folder in (home.models_folder, home.outbox_folder):
        shutil.rmtree(folder, ignore_errors=True)
