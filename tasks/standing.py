"""What a node's page says of it, told to the node itself: its key is its login."""

from __future__ import annotations

from datetime import datetime

from tasks import node_views, nodes
from workers.protocol import messages


def of_node(*, node_id: str, body: bytes, signature: object, now: datetime) -> node_views.NodeView:
    """Return the node as its operator sees it, for a `messages.Inquiry` that it signed.

    In whatever state it is: one that was retired or suspended learns it this way alone.

    Raises:
        tasks.nodes.NotTheNode: the request is not this node's, or not of these minutes.
    """
    node = nodes.prove(messages.Inquiry, node_id=node_id, body=body, signature=signature, now=now)
    return node_views.of_node(node, now=now)
