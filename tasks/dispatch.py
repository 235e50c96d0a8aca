"""Messages that leave after commit, one function for each.

Services call these inside their transaction; nothing is sent if it rolls back. A message
that is lost all the same (the process died in between, the broker was away) is rebuilt by
`tasks.sweeps` from the rows, so a failure here is logged and goes no further.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from django.db import transaction

from tasks import outgoing


def announce(*, job_id: str) -> None:
    """Tell all nodes that can do it that the job is open."""
    transaction.on_commit(partial(outgoing.send_announcement, job_id=job_id), robust=True)


def assign(*, replica_ids: Sequence[int]) -> None:
    """Send each replica's assignment to its node."""
    if replica_ids:
        transaction.on_commit(
            partial(outgoing.send_assignments, replica_ids=list(replica_ids)), robust=True
        )


def withdraw(*, replica_ids: Sequence[int]) -> None:
    """Tell the nodes that these replicas are no longer wanted."""
    if replica_ids:
        transaction.on_commit(
            partial(outgoing.send_withdrawals, replica_ids=list(replica_ids)), robust=True
        )


def schedule(*, job_ids: Sequence[str]) -> None:
    """Let a platform worker look for nodes for these jobs."""
    transaction.on_commit(
        partial(outgoing.send_work, name="tasks.schedule", arguments={"job_ids": list(job_ids)}),
        robust=True,
    )


def revoke_node(*, node_id: str) -> None:
    """Take the node's broker access away."""
    transaction.on_commit(
        partial(outgoing.send_work, name="tasks.revoke_node", arguments={"node_id": node_id}),
        robust=True,
    )


def sweep() -> None:
    """Let a platform worker look over everything now."""
    transaction.on_commit(
        partial(outgoing.send_work, name="tasks.sweep", arguments={}), robust=True
    )
