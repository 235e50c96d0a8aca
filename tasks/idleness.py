"""Why the platform gives a ready node nothing, in the words of `reasons.NodeReason`.

Asked when somebody looks, of the very gates by which the scheduler matches; nothing is
stored, so it cannot be out of date and costs nothing while nobody looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tasks import allowances, candidates, fleet, matching
from tasks.models import Credibility, Job, Node
from tasks.reasons import NodeReason
from tasks.records import Record
from workers.protocol import limits

#: Nodes looked at in one call; others are only ready.
NODES_MAX: Final = 100
#: Gate -> the operator's word for it, the most telling first. A node that has free places
#: is not refused for want of one, and shares are between jobs.
GATE_WORDS: Final[Mapping[matching.Refusal, NodeReason]] = {
    "numeric_class": NodeReason.NO_WORK_FOR_CLASS,
    "client_category": NodeReason.CATEGORIES_EXCLUDED,
    "owner_tried": NodeReason.NO_MATCH,
    "kept_apart": NodeReason.NO_MATCH,
    "same_network": NodeReason.NO_MATCH,
    "own_node": NodeReason.OWN_WORK,
}
_BARRED: Final[Mapping[str, NodeReason]] = {
    Credibility.State.QUARANTINED: NodeReason.QUARANTINED,
    Credibility.State.BANNED: NodeReason.BANNED,
}


def shown(
    nodes: Sequence[Node],
    *,
    running: Mapping[str, int],
    believed: Mapping[str, Sequence[Record]],
    now: datetime,
) -> dict[str, tuple[str, str]]:
    """Return the state of each node and why it does not work, as its operator sees them.

    `running`: leases each holds, `believed`: its records. Up to eleven queries for any number
    of nodes, none if nobody is ready for more.
    """
    states = {
        node.pk: fleet.shown_state(node, running=running.get(node.pk, 0), now=now) for node in nodes
    }
    ready = [node for node in nodes if states[node.pk][1] in {"", NodeReason.NO_WORK}]
    words = _words(ready, running=running, believed=believed, now=now)
    return {
        node_id: (state, words.get(node_id, reason)) for node_id, (state, reason) in states.items()
    }


def _words(
    nodes: Sequence[Node],
    *,
    running: Mapping[str, int],
    believed: Mapping[str, Sequence[Record]],
    now: datetime,
) -> dict[str, NodeReason]:
    asked = [node for node in nodes if _has_room(node, running.get(node.pk, 0))][:NODES_MAX]
    if not asked:
        return {}
    jobs = candidates.jobs_with_work()
    gates = _gates(asked, jobs, now=now)
    found = {}
    for node in asked:
        kept = gates.get(node.pk)
        if running.get(node.pk):
            word = NodeReason.QUOTA_LOW if kept and "quota" in kept else None
        elif kept is None:
            word = _barred(believed.get(node.pk, []), kept) or _left_out(node, jobs)
        else:
            word = _barred(believed.get(node.pk, []), kept) or _word(kept)
        if word is not None:
            found[node.pk] = word
    return found


def _has_room(node: Node, running: int) -> bool:
    """Say whether it could do more than it does; what waits there for a slot is no room."""
    return running == 0 or running + limits.SLOTS_AHEAD < node.slots


def _gates(nodes: Sequence[Node], jobs: Sequence[Job], *, now: datetime) -> dict[str, set[str]]:
    """Return the gates that keep each node from all that is ready; a node of none is not there.

    Of a node alone: what others would get first is no reason.
    """
    if not jobs:
        return {}
    window = candidates.window(jobs)
    free = candidates.free_nodes(jobs, now=now, node_ids=[node.pk for node in nodes])
    apart = candidates.apart(free)
    gates = {}
    for node in free:
        matched = matching.match(window.ready, [node], limit=1, apart=apart)
        told = {why for refused in matched.refusals.values() for why in refused}
        gates[node.id] = set() if matched.grants else told - {"not_asked"}
    return gates


def _barred(records: Sequence[Record], gates: set[str] | None) -> NodeReason | None:
    """Tell of strikes that keep the node from what is ready, or from all it ever did."""
    barred = [_BARRED[record.state] for record in records if record.state in _BARRED]
    is_kept_off = "barred" in (gates or ()) or len(barred) == len(records)
    if not barred or not is_kept_off:
        return None
    return NodeReason.BANNED if NodeReason.BANNED in barred else NodeReason.QUARANTINED


def _word(gates: set[str]) -> NodeReason | None:
    return next((word for why, word in GATE_WORDS.items() if why in gates), None)


def _left_out(node: Node, jobs: Sequence[Job]) -> NodeReason | None:
    """Tell whether its limits leave out all that is open: such jobs it does not acknowledge."""
    others = [job for job in jobs if job.owner_id != node.owner_id]
    if not others:
        return None
    allowed = allowances.limits_of(node).effective
    wanted = [job for job in others if allowed.takes(job.kind)]
    if not wanted:
        return NodeReason.KINDS_EXCLUDED
    if not any(allowed.serves(job.client_category) for job in wanted):
        return NodeReason.CATEGORIES_EXCLUDED
    return None
