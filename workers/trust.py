"""Which key the platform signs with: the pinned one, or one that it vouched for.

A new key is believed only when the pinned key signed it, directly or through keys in
between. Where the statements come from does not matter: nobody else can make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.protocol import limits, messages, routes, signatures

TIMEOUT_SECONDS = 10
ANSWER_BYTES_MAX = 256 * limits.KIB


class Unknown(Exception):
    """The portal did not say, or not in a way that is understood."""


class Statement(BaseModel):
    """A `KeySuccession` as JSON and the old key's signature over it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    body: Annotated[str, Field(max_length=1000)]
    signature: Annotated[str, Field(max_length=100)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    changes: Annotated[list[Statement], Field(max_length=limits.KEY_CHANGES_MAX)]


def follow(pinned: str, statements: Sequence[Statement]) -> str:
    """Return the key that `pinned` leads to; `pinned` itself when it vouches for none.

    `statements` are oldest first. One that the key in hand did not sign is passed over.
    """
    key = pinned
    for statement in statements:
        body = statement.body.encode()
        try:
            signatures.verify(body, statement.signature, public_key=key)
            succession = messages.KeySuccession.model_validate_json(body)
            signatures.load_public(succession.new_key)
        except (signatures.BadSignature, signatures.BadKey, ValidationError):
            continue
        if succession.old_key == key:
            key = succession.new_key
    return key


def fetch(portal_url: str) -> list[Statement]:
    """Ask the portal how its key changed.

    Raises:
        Unknown: there is no answer, or none of this form.
    """
    url = f"{portal_url.rstrip('/')}{routes.PLATFORM_KEYS_PATH}"
    content = b""
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            for part in response.iter_bytes():
                content += part
                if len(content) > ANSWER_BYTES_MAX:
                    raise Unknown("the answer is too long")
        return _Answer.model_validate_json(content).changes
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as exc:
        raise Unknown(f"{type(exc).__name__}") from exc
