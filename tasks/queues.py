"""Every exchange and queue of the platform, by name.

Nothing here is declared by use (`no_declare`): `tasks.broker.declare_topology` makes all
of it once, and neither nodes nor workers may configure anything.

The exchanges: `announce` carries open jobs to the nodes whose kinds match, `assign`
carries one assignment to one node, `ingress` carries what nodes write, `internal` carries
the platform's own background work, and `dead` collects what could not be handled.
"""

from __future__ import annotations

import re

from kombu import Exchange, Queue

from tasks import samples
from workers.protocol import routes

SECOND_MS = 1000

#: Deliveries of one message before it is dead-lettered. Every message a crashing consumer
#: had prefetched counts one, so a small limit would drop bystanders.
DELIVERY_LIMIT = 20
#: Messages waiting in one ingress queue before nodes are refused.
INGRESS_LENGTH_MAX = 200_000
#: Messages kept in `platform.dead` for staff to look at, the newest.
DEAD_LENGTH_MAX = 100_000

#: A node's queue vanishes when nobody has consumed it for an hour; its assignments have
#: long been given to others, and enrolling again makes a new one.
NODE_QUEUE_EXPIRES_MS = 3600 * SECOND_MS
#: A message unread for this long is void: its lease is about to run out.
NODE_MESSAGE_TTL_MS = 30 * SECOND_MS
NODE_QUEUE_LENGTH_MAX = 1000

#: Kinds of work every node hears of.
NODE_KINDS = ("detect", "classify")

NODE_ID_PATTERN = re.compile(r"node_[0-9a-z]{26}")

ANNOUNCE = Exchange("announce", type="topic", no_declare=True)
ASSIGN = Exchange("assign", type="direct", no_declare=True)
INGRESS = Exchange("ingress", type="topic", no_declare=True)
INTERNAL = Exchange("internal", type="topic", no_declare=True)
DEAD = Exchange("dead", type="fanout", no_declare=True)
EXCHANGES = (ANNOUNCE, ASSIGN, INGRESS, INTERNAL, DEAD)

# The queue type must stay in the arguments: Celery reads it to leave global QoS alone,
# which quorum queues refuse.
_QUORUM = {"x-queue-type": "quorum"}
_DURABLE = {
    **_QUORUM,
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD.name,
}
_INGRESS = {
    **_DURABLE,
    "x-max-length": INGRESS_LENGTH_MAX,
    "x-overflow": "reject-publish",
}


def _queue(name: str, exchange: Exchange, key: str, arguments: dict[str, object]) -> Queue:
    return Queue(name, exchange, key, no_declare=True, queue_arguments=arguments)


REPORTS = _queue("platform.reports", INGRESS, "report.*", _INGRESS)
ACKS = _queue("platform.acks", INGRESS, "ack.*", _INGRESS)
HEARTBEATS = _queue("platform.heartbeats", INGRESS, "heartbeat.*", _INGRESS)
WORK = _queue("platform.work", INTERNAL, "work", _DURABLE)
#: What takes the referee's process seconds or minutes, for a worker of its own: whatever
#: else the platform does must never wait behind it.
REFEREE = _queue("platform.referee", INTERNAL, "referee", _DURABLE)
DEAD_LETTERS = _queue("platform.dead", DEAD, "", {**_QUORUM, "x-max-length": DEAD_LENGTH_MAX})

#: What nodes write, read by `tasks.ingest` and never by Celery.
INGRESS_QUEUES = (REPORTS, ACKS, HEARTBEATS)
#: What the platform's own Celery workers read.
WORKER_QUEUES = (WORK, REFEREE)
PLATFORM_QUEUES = (*INGRESS_QUEUES, *WORKER_QUEUES, DEAD_LETTERS)

_REFEREES = frozenset({"tasks.referee", "tasks.make_gold"})


class BadNodeId(ValueError):
    """The text is not a node's id: `node_` and 26 lower-case letters and digits."""


def node_queue(node_id: str) -> Queue:
    """Return a node's own queue, bound to `assign` under its own name.

    Classic and short-lived, with drop-head: were a full queue to refuse a message, the
    announcement to every other node would be refused with it.

    Raises:
        BadNodeId: the id could not have come from us; it ends up in broker patterns.
    """
    if not NODE_ID_PATTERN.fullmatch(node_id):
        raise BadNodeId(node_id)
    name = routes.node_queue_name(node_id)
    arguments = {
        "x-queue-type": "classic",
        "x-expires": NODE_QUEUE_EXPIRES_MS,
        "x-message-ttl": NODE_MESSAGE_TTL_MS,
        "x-max-length": NODE_QUEUE_LENGTH_MAX,
        "x-overflow": "drop-head",
    }
    return _queue(name, ASSIGN, name, arguments)


def worker_queue(task: str) -> Queue:
    """Return the queue in which a task of the platform's workers waits, by the task's name."""
    return REFEREE if task in _REFEREES else WORK


def announcement_patterns(kind: str, *, node_id: str) -> list[str]:
    """Return the topics under which a node hears of jobs of this kind: all, and its sample's."""
    return [f"{kind}.*", f"{kind}.*.{samples.bucket(node_id)}"]
