"""What the platform says, checked before it is believed.

The signature is verified over the bytes as received before anything is parsed; then the
strict schema decides. Ids, nonces and times are the agent's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from pydantic import ValidationError

from workers import events
from workers.events import Event
from workers.protocol import limits, messages, routes, signatures


class Refused(Exception):
    """The message is not the platform's or not understood; the text is a reason code."""


#: Celery task -> what it carries, and the event that makes of it.
MESSAGES: Mapping[str, Callable[[bytes], Event]] = {
    routes.TASK_ANNOUNCE: lambda body: events.Announced(
        messages.Announcement.model_validate_json(body)
    ),
    routes.TASK_ASSIGN: lambda body: _assigned(messages.read_assignments(body)),
    routes.TASK_WITHDRAW: lambda body: events.Withdrawn(
        messages.Withdrawal.model_validate_json(body)
    ),
    routes.TASK_SETTINGS: lambda body: events.SettingsReceived(
        messages.NodeSettings.model_validate_json(body)
    ),
    routes.TASK_RECEIPT: lambda body: events.Receipted(messages.Receipt.model_validate_json(body)),
}


def read(task: str, text: object, signature: object, *, platform_key: str) -> Event:
    """Return the event in a Celery message of the platform, whose arguments may be anything.

    Raises:
        Refused: with too_large, bad_signature or malformed.
    """
    body = _body(text)
    try:
        signatures.verify(body, signature, public_key=platform_key)
    except signatures.BadSignature as exc:
        raise Refused("bad_signature") from exc
    try:
        return MESSAGES[task](body)
    except ValidationError as exc:
        raise Refused("malformed") from exc


def sent_at(event: events.Event) -> datetime | None:
    """Return the platform's time when it sent the message; None for what is no message."""
    match event:
        case events.Announced():
            return event.announcement.sent_at
        case events.Assigned():
            return max(each.sent_at for each in event.assignments)
        case events.Withdrawn():
            return event.withdrawal.sent_at
        case events.SettingsReceived():
            return event.settings.sent_at
        case events.Receipted():
            return event.receipt.sent_at
        case _:
            return None


def _assigned(message: messages.Assignment | messages.Assignments) -> events.Assigned:
    if isinstance(message, messages.Assignments):
        return events.Assigned(tuple(message.assignments))
    return events.Assigned((message,))


def _body(text: object) -> bytes:
    if not isinstance(text, str):
        raise Refused("malformed")
    if len(text) > limits.MESSAGE_BYTES_MAX:
        raise Refused("too_large")
    try:
        return text.encode()
    except UnicodeEncodeError as exc:  # lone surrogates
        raise Refused("malformed") from exc
