"""Changing this node's key and broker password, so that stolen ones are worth nothing.

The new key is on disk before the portal hears of it, and the old one goes only after the
portal has answered: whatever is cut short, running it again finishes it.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, ValidationError

from workers import config, identity
from workers.config import BrokerLogin, Config, Home
from workers.identity import EnrollmentFailed
from workers.protocol import messages, routes, signatures

#: The portal's code when the key in force did not sign.
NOT_SIGNED = "bad_signature"


class _Rotated(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    broker: BrokerLogin


def rotate(*, home: Home, now: datetime) -> Config:
    """Give this node a new key and broker password; it must not run meanwhile.

    The platform's key in the answer is not believed: `workers.trust` follows that one.

    Raises:
        config.NotEnrolled, config.Damaged, identity.BadKeyFile: nothing was sent.
        EnrollmentFailed: the portal refused; the old key is still in force.
    """
    settings = config.read(home)
    old = identity.load_key(home.key_file)
    new = identity.load_or_create_key(home.next_key_file)
    try:
        broker = _ask(settings, signer=old, new=new, now=now)
    except EnrollmentFailed as exc:
        if exc.code != NOT_SIGNED:
            raise
        # An earlier run was cut short after the portal had taken the new key.
        broker = _ask(settings, signer=new, new=new, now=now)
    rotated = settings.model_copy(update={"broker": broker})
    home.next_key_file.replace(home.key_file)
    config.write(home, rotated)
    return rotated


def _ask(
    settings: Config, *, signer: Ed25519PrivateKey, new: Ed25519PrivateKey, now: datetime
) -> BrokerLogin:
    request = messages.KeyRotation(
        sent_at=now, node=settings.node_id, public_key=signatures.public_text(new)
    ).model_dump_json()
    content = identity.ask(
        f"{settings.portal_url.rstrip('/')}{routes.rotation_path(settings.node_id)}",
        {
            "request": request,
            "signature": signatures.sign(request.encode(), key=signer),
            "proof": signatures.sign(request.encode(), key=new),
        },
    )
    try:
        broker = _Rotated.model_validate_json(content).broker
    except ValidationError as exc:
        raise EnrollmentFailed("The portal's answer is not understood.") from exc
    if broker.queue != routes.node_queue_name(settings.node_id):
        raise EnrollmentFailed("The portal named another node's queue; ask its staff.")
    return broker
