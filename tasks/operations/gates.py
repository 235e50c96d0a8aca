"""Why ready chunks are not given out now: the matching itself, asked and not carried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tasks import candidates, matching, scheduling
from tasks.operations import platform

#: Gate -> what it means to staff. The matching's own words, and two that come before it.
WORDS: Final[Mapping[str, str]] = {
    "drained": "The platform is drained.",
    "no_node": "No node with a free slot acknowledged the job.",
    "own_node": "The node is the client's own.",
    "not_asked": "The node did not acknowledge the job.",
    "client_category": "The node does not work for such clients.",
    "owner_tried": "The node's owner has had the chunk.",
    "kept_apart": "The owner agreed on something wrong with one who has it.",
    "same_network": "A node of the same network has it.",
    "numeric_class": "Answers are compared only within another class of processor.",
    "barred": "Strikes, or staff, keep the node from the model.",
    "quota": "The node holds as much of the model as it may.",
    "slow": "It would wait too long behind the node's other work.",
    "no_slot": "No slot is free.",
    "share": "The job has its share of the pool.",
}


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """What came of it; of chunks and nodes a window each, as the scheduler looks at them."""

    chunks: int
    nodes: int
    #: Assignments that would go out now.
    grants: int
    #: Gate -> how often it refused a chunk, or a node for a chunk; the most frequent first.
    by_gate: Mapping[str, int]

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """Gate, count, what it means."""
        return [(gate, count, WORDS.get(gate, "")) for gate, count in self.by_gate.items()]


def refusals(*, now: datetime) -> Refusals:
    """Match the window of ready chunks without giving anything out. Reads as one pass does."""
    jobs = candidates.jobs_with_work()
    window = candidates.window(jobs)
    if platform.is_drained() or not window.ready:
        drained = {"drained": len(window.ready)} if window.ready else {}
        return Refusals(chunks=len(window.ready), nodes=0, grants=0, by_gate=drained)
    nodes = candidates.free_nodes(jobs, now=now)
    matched = matching.match(
        window.ready,
        nodes,
        limit=scheduling.PASS_MAX,
        held=candidates.held(jobs),
        apart=candidates.apart(nodes),
        wait_ms_max=scheduling.WAIT_MS_MAX,
    )
    counted: Counter[str] = Counter()
    for refused in matched.refusals.values():
        counted.update(refused)
    counted["no_node"] = _without_node(window, nodes)
    return Refusals(
        chunks=len(window.ready),
        nodes=len(nodes),
        grants=len(matched.grants),
        by_gate={gate: count for gate, count in counted.most_common() if count},
    )


def _without_node(window: candidates.Window, nodes: list[matching.Candidate]) -> int:
    """Count chunks that no free node was asked about, or knows the model of."""
    asked = {job for node in nodes for job in node.jobs}
    known = {model for node in nodes for model in node.records}
    return sum(
        chunk.job not in asked if chunk.needs_ack else chunk.model not in known
        for chunk in window.ready
    )
