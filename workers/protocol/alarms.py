"""A broker that is short of memory or disk, as those see it who publish.

RabbitMQ then reads nothing more from whoever publishes, and tells each such connection once
(`connection.blocked`). py-amqp without a callback waits on as if nothing had been said.
"""

from __future__ import annotations


class BrokerBlocked(Exception):
    """A publisher was told so."""

    def __init__(self) -> None:
        super().__init__("The broker is short of memory or disk and takes no messages for now.")


def refuse(_: str) -> None:
    """End a publish that waits for a broker in distress; for py-amqp's `on_blocked`.

    What was sent may still arrive when the broker reads on.

    Raises:
        BrokerBlocked: always.
    """
    raise BrokerBlocked
