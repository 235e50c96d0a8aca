"""Messages that leave after commit, one function for each.

Services call these inside their transaction; nothing is sent if it rolls back. A message
that is lost all the same (the process died in between, the broker was away) is rebuilt by
`tasks.sweeps` from the rows, so a failure here is logged and goes no further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any

from django.db import transaction

from tasks import outgoing
from workers.protocol import messages


def announce(*, job_id: str) -> None:
    """Tell all nodes that can do it that the job is open."""
    _after_commit(outgoing.send_announcement, job_id=job_id)


def announce_to(*, node_id: str, job_ids: Sequence[str]) -> None:
    """Tell one node alone of open jobs."""
    if job_ids:
        _after_commit(outgoing.send_announcements_to, node_id=node_id, job_ids=list(job_ids))


def assign(*, replica_ids: Sequence[int]) -> None:
    """Send each replica's assignment to its node."""
    if replica_ids:
        _after_commit(outgoing.send_assignments, replica_ids=list(replica_ids))


def withdraw(*, replica_ids: Sequence[int]) -> None:
    """Tell the nodes that these replicas are no longer wanted."""
    if replica_ids:
        _after_commit(outgoing.send_withdrawals, replica_ids=list(replica_ids))


def settings(*, node_ids: Sequence[str]) -> None:
    """Tell the nodes what their pages ask for."""
    if node_ids:
        _after_commit(outgoing.send_settings, node_ids=list(node_ids))


def receipt(*, reports: Mapping[str, Sequence[messages.ReportName]]) -> None:
    """Tell each node which of its reports the platform has dealt with."""
    if reports:
        _after_commit(outgoing.send_receipts, reports=dict(reports))


def schedule(*, job_ids: Sequence[str]) -> None:
    """Let a platform worker look for nodes for these jobs."""
    _after_commit(outgoing.send_work, name="tasks.schedule", arguments={"job_ids": list(job_ids)})


def enforce_admission(*, node_id: str) -> None:
    """Let the broker do at once what the node's row says; see Note [Cutting a node off]."""
    _after_commit(outgoing.enforce_admission, node_id=node_id)


def referee(*, chunk_id: int) -> None:
    """Let a platform worker compute the chunk; its answer decides."""
    _after_commit(outgoing.send_work, name="tasks.referee", arguments={"chunk_id": chunk_id})


def restore_queue(*, node_id: str) -> None:
    """Let a platform worker make the node's queue, should it have expired."""
    _after_commit(outgoing.send_work, name="tasks.restore_queue", arguments={"node_id": node_id})


def sweep() -> None:
    """Let a platform worker look over everything now."""
    _after_commit(outgoing.send_work, name="tasks.sweep", arguments={})


def _after_commit(send: Callable[..., None], **arguments: Any) -> None:
    # Django logs a failed callback by its name, which a bare partial does not have: the
    # error would then reach the caller after all.
    named = update_wrapper(partial(send, **arguments), send)
    transaction.on_commit(named, robust=True)
