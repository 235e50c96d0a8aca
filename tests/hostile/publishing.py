"""What hostile tests share of a node that publishes: a real `Link` with a puppet's login."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from portal.demo import stack
from tests.flows.puppet import Puppet
from workers import link as links
from workers.config import BrokerLogin
from workers.link import Link
from workers.outbox import Outbox
from workers.protocol import messages

#: Bounds what must not last for ever, on a machine with other work.
SOON_SECONDS = 60


def soon(is_so: Callable[[], object], what: str) -> float:
    """Wait for a condition; return the seconds it took."""
    return stack.wait_until(lambda: bool(is_so()), seconds=SOON_SECONDS, what=what)


@contextmanager
def publishing(puppet: Puppet, outbox: Outbox) -> Iterator[Link]:
    """Publish as a real node does, with the puppet's login and key."""
    link = Link(
        node_id=puppet.node_id,
        key=puppet.key,
        outbox=outbox,
        connect=lambda: links.connect(BrokerLogin(**puppet.login)),
        clock=lambda: datetime.now(UTC),
    )
    link.start()
    try:
        yield link
    finally:
        link.close(10)


def beat_of(puppet: Puppet) -> messages.Heartbeat:
    """Return a sign of life of an idle node."""
    return messages.Heartbeat(
        sent_at=datetime.now(UTC), node=puppet.node_id, running=[], slots=1, cached_models=[]
    )
