"""Names both sides use: routing keys, task names, URL paths."""

from __future__ import annotations

#: Celery task names on the node; each takes (JSON text, signature).
TASK_ANNOUNCE = "node.announce"
TASK_ASSIGN = "node.assign"
TASK_WITHDRAW = "node.withdraw"
TASK_SETTINGS = "node.settings"
TASK_RECEIPT = "node.receipt"

#: Kinds of message a node publishes; the routing key is `<kind>.<node id>`.
KINDS = ("ack", "report", "heartbeat")

ENROLL_PATH = "/api/v1/nodes/"
LIVE_PATH = "/api/v1/health/live"


def leave_path(node_id: str) -> str:
    """Return where a node says that it leaves for good."""
    return f"/api/v1/nodes/{node_id}/leave/"


def standing_path(node_id: str) -> str:
    """Return where a node asks what its page says of it."""
    return f"/api/v1/nodes/{node_id}/standing/"


#: The platform's signed key changes, oldest first.
PLATFORM_KEYS_PATH = "/api/v1/platform-keys/"


def rotation_path(node_id: str) -> str:
    """Return where a node changes its key and broker password."""
    return f"{ENROLL_PATH}{node_id}/keys/"


def node_queue_name(node_id: str) -> str:
    """Return the name of a node's own queue, also its routing key on `assign`."""
    return f"node.{node_id}"


def broker_username(node_id: str) -> str:
    """Return the broker user of a node; `user_id` of each of its messages."""
    return f"node-{node_id}"


def ingress_key(kind: str, node_id: str) -> str:
    """Return the routing key under which a node publishes `kind`."""
    return f"{kind}.{node_id}"


def announcement_key(task: str, model_digest: str, bucket: str = "") -> str:
    """Return the routing key of an announcement, for example `detect.0123456789abcdef`.

    With a bucket it reaches the nodes of that bucket alone: `detect.0123456789abcdef.x`.
    """
    key = f"{task}.{model_digest[:16]}"
    return f"{key}.{bucket}" if bucket else key
