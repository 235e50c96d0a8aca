"""What the node's page says of it, asked when its operator looks at `status`."""

from __future__ import annotations

from datetime import datetime

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from workers import reasons
from workers.config import Config
from workers.protocol import messages, routes, signatures
from workers.protocol.messages import Standing

#: An operator who waits for `status` is not kept waiting.
TIMEOUT_SECONDS = 3
ANSWER_BYTES_MAX = 10_000


def ask(settings: Config, *, key: Ed25519PrivateKey, now: datetime) -> Standing | None:
    """Ask the portal; None when it cannot be reached or does not answer this."""
    body = messages.Inquiry(sent_at=now, node=settings.node_id).model_dump_json().encode()
    url = f"{settings.portal_url.rstrip('/')}{routes.standing_path(settings.node_id)}"
    headers = {
        "Content-Type": "application/json",
        signatures.HTTP_HEADER: signatures.sign(body, key=key),
    }
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code != httpx.codes.OK or len(answer.content) > ANSWER_BYTES_MAX:
            return None
        return Standing.model_validate_json(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError):
        return None


def word(own: str, told: Standing | None) -> str:
    """Return the one word for why the node does not work; empty when it does.

    The machine's own reasons are news that the page has within a second; what the machine
    cannot know, and what its silence means, the page says.
    """
    if told is None:
        return own
    is_own_word = own not in {"", reasons.OFFLINE} and told.reason not in reasons.PAGES_OWN
    return own if is_own_word else told.reason
