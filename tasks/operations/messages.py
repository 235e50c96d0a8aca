"""The broker's queues as staff see them; a broker that is away is a finding, not an error."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tasks import broker

logger = logging.getLogger(__name__)

#: For each answer of the broker; a page waits for it.
TIMEOUT_SECONDS: Final = 1.5

#: Where the figures come from: RabbitMQ's management, a plain connection (depths alone),
#: the embedded broker, or nowhere.
Source = Literal["management", "connection", "embedded", "none"]


@dataclass(frozen=True, kw_only=True)
class Queues:
    """What was found out; what the source does not know is None."""

    source: Source
    queues: Sequence[broker.QueueState]


def queues() -> Queues:
    """Ask the broker, within a few seconds whatever it does."""
    try:
        if not broker.is_rabbitmq():
            return Queues(source="embedded", queues=_depths())
        return Queues(
            source="management", queues=broker.queue_states(timeout_seconds=TIMEOUT_SECONDS)
        )
    except broker.BrokerUnavailable as exc:
        logger.warning("the broker's management does not answer: %s", exc)
    try:
        return Queues(source="connection", queues=_depths())
    except broker.BrokerUnavailable:
        return Queues(source="none", queues=[])


def _depths() -> list[broker.QueueState]:
    return [
        broker.QueueState(
            name=name, ready=depth, unacknowledged=None, consumers=None, oldest_at=None
        )
        for name, depth in broker.queue_depths(timeout_seconds=TIMEOUT_SECONDS).items()
    ]
