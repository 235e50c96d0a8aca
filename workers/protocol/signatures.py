"""Ed25519 signatures over the exact bytes of a message.

The signature travels beside the bytes, not inside them: it can be checked before anything
is parsed, and no two sides need to agree on a canonical form of JSON.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Signed together with each message, so that a signature made for another purpose is void.
DOMAIN = b"nodefolk-message-v1\n"
#: Base64 of 64 bytes.
SIGNATURE_LENGTH = 88
#: The AMQP header that carries a node's signature.
HEADER = "signature"
#: The HTTP header that carries it when a node speaks to the portal.
HTTP_HEADER = "X-Nodefolk-Signature"


class BadSignature(Exception):
    """The signature is not by this key over these bytes."""


class BadKey(Exception):
    """The public key is not base64 of 32 bytes."""


def sign(body: bytes, *, key: Ed25519PrivateKey, domain: bytes = DOMAIN) -> str:
    """Return the base64 signature of `body`, 88 characters, for the purpose `domain`."""
    return base64.b64encode(key.sign(domain + body)).decode("ascii")


def verify(body: bytes, signature: object, *, public_key: str, domain: bytes = DOMAIN) -> None:
    """Check that `signature` (as received, of any type) is `public_key`'s over `body`.

    Raises:
        BadSignature: it is not.
        BadKey: `public_key` is malformed.
    """
    if not isinstance(signature, str) or len(signature) != SIGNATURE_LENGTH:
        raise BadSignature("The signature is missing or not 88 base64 characters.")
    try:
        raw = base64.b64decode(signature, validate=True)
        load_public(public_key).verify(raw, domain + body)
    except (binascii.Error, ValueError, InvalidSignature) as exc:
        raise BadSignature("The signature does not match.") from exc


def load_public(text: str) -> Ed25519PublicKey:
    """Read base64 of 32 raw bytes.

    Raises:
        BadKey: it is anything else.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError) as exc:
        raise BadKey("A public key is the base64 of 32 raw Ed25519 bytes.") from exc


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half as base64 of 32 raw bytes, 44 characters."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode("ascii")
