"""Which node gets which chunk. Pure: the scheduler and `bench/fleet.py` both ask here.

Gates decide who may have a chunk, the score who should. Chunks are taken in the order of
priority, then of the share of the pool their client has already (weighted fair queueing),
then of age; a chunk that is begun is given to as many nodes as it needs before the next, so
that first results are checked early.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tasks.verification import acceptance

#: Share of the pool that one job may hold while others wait.
JOB_SHARE_MAX: Final = 0.4
#: Parts of the score: a model at hand saves a download; who would be done first comes first,
#: trusted nodes take what is late already; whoever lost or gave back a chunk is asked again
#: only if nobody else is there.
SCORE_CACHED: Final = 10.0
SCORE_SPEED: Final = 8.0
SCORE_RECORD: Final = 5.0
SCORE_LOST: Final = -100.0
#: Checks after which a record counts fully in the score.
RECORD_FULL: Final = 20.0

#: Why a node may not have a chunk.
Refusal = Literal[
    "own_node",
    "not_asked",
    "client_category",
    "owner_tried",
    "kept_apart",
    "same_network",
    "numeric_class",
    "barred",
    "quota",
    "slow",
    "no_slot",
]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a node for one model."""

    #: Checks passed since the last strike.
    checks: float = 0.0
    #: Chunks it may still take for this model.
    quota_left: int = 1_000_000
    is_barred: bool = False
    #: Milliseconds an image takes (Note [A node's pace]); None: unknown.
    image_ms: float | None = None
    has_model: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that could take work now."""

    id: str
    owner: int
    #: Assignments it can take beyond what it holds, and what it holds.
    free: int
    held: int = 0
    network: str = ""
    numeric_class: str = ""
    #: By model id; a model that is not there is new to the node.
    records: Mapping[str, Record] = field(default_factory=dict)
    #: Jobs it acknowledged.
    jobs: frozenset[str] = frozenset()
    #: Categories of clients it works for; None: all.
    client_categories: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A chunk that wants replicas."""

    id: int
    job: str
    model: str
    client: int
    target_error: str
    wanted: int
    granted: int
    #: Pictures in it.
    images: int = 1
    mode: str = "normal"
    client_category: str = "undeclared"
    priority: int = 1
    #: Age order: the smaller is the older.
    since: float = 0.0
    #: Owners who have it, answered it or lost it too often.
    tried: frozenset[int] = frozenset()
    #: Owners who lost it or gave it back.
    lost: frozenset[int] = frozenset()
    networks: frozenset[str] = frozenset()
    #: The only numeric class that may answer; empty: any.
    numeric_class: str = ""
    #: Checks of those who have it or answered it, for `acceptance.missing`.
    checks: tuple[float, ...] = ()
    #: Replicas it may still be given: the attempts are bounded.
    attempts_left: int = acceptance.ATTEMPTS_MAX
    #: Nobody ever had it.
    is_new: bool = True
    #: Late already: a retry, an audit or a recheck.
    is_urgent: bool = False
    #: The model's answers are compared only within one numeric class.
    is_class_pinned: bool = False
    #: Whether only nodes that acknowledged the job may have it; checks of ended jobs go to
    #: whoever knows the model.
    needs_ack: bool = True


@dataclass(frozen=True, kw_only=True)
class Grant:
    """This chunk to this node."""

    chunk: int
    node: str


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Who gets what, and why the others do not."""

    grants: list[Grant]
    #: What each chunk that was touched wants now, at least.
    wanted: dict[int, int]
    #: The class each newly pinned chunk is bound to.
    pinned: dict[int, str]
    #: Checks of the node of each grant, by chunk and node.
    checks: dict[tuple[int, str], float]
    #: The owner of each node that was looked at.
    owners: dict[str, int]
    #: By job, for jobs with a chunk left: how often each gate refused a node.
    refusals: dict[str, Counter[str]]


def match(
    chunks: Sequence[Ready],
    nodes: Sequence[Candidate],
    *,
    limit: int,
    held: Mapping[Hashable, int] | None = None,
    apart: frozenset[tuple[int, int]] = frozenset(),
    wait_ms_max: float = math.inf,
) -> Matched:
    """Match chunks to nodes; at most `limit` grants.

    `held`: leases that each client (by number) and each job (by id) has out already.
    `apart`: pairs of owners, smaller first, who may not be asked about one chunk.
    `wait_ms_max`: nobody is given work to keep waiting that is not done by then. A node with
    nothing to do may have any chunk, however slow it is: else nobody might.
    The same arguments always give the same grants.
    """
    return _Round(
        chunks, nodes, limit=limit, held=held or {}, apart=apart, wait_ms_max=wait_ms_max
    ).run()


class _Round:
    def __init__(
        self,
        chunks: Sequence[Ready],
        nodes: Sequence[Candidate],
        *,
        limit: int,
        held: Mapping[Hashable, int],
        apart: frozenset[tuple[int, int]],
        wait_ms_max: float,
    ) -> None:
        self._wait_ms_max = wait_ms_max
        self._usual_ms: dict[str, float] = {}
        self._nodes = sorted(nodes, key=lambda node: node.id)
        self._free = {node.id: node.free for node in nodes}
        self._quota: dict[tuple[str, str], int] = {}
        self._limit = limit
        self._apart = apart
        self._out = Counter(held)
        self._pool = sum(self._free.values()) + sum(
            count for key, count in held.items() if isinstance(key, str)
        )
        self._several = len({chunk.job for chunk in chunks}) > 1
        self._result = Matched(
            grants=[],
            wanted={},
            pinned={},
            checks={},
            owners={node.id: node.owner for node in nodes},
            refusals={},
        )
        self._queues: dict[str, list[Ready]] = {}
        for chunk in sorted(chunks, key=lambda chunk: chunk.id, reverse=True):
            self._queues.setdefault(chunk.job, []).append(chunk)

    def run(self) -> Matched:
        """Take jobs in turn, each time the one most behind its share."""
        waiting = [(self._rank(queue[-1]), job) for job, queue in self._queues.items()]
        heapq.heapify(waiting)
        while waiting and len(self._result.grants) < self._limit:
            _, job = heapq.heappop(waiting)
            queue = self._queues[job]
            if self._several and waiting and self._out[job] >= JOB_SHARE_MAX * self._pool:
                self._refuse(job, "share")
                continue
            self._fill(queue.pop())
            if queue and self._has_slots():
                heapq.heappush(waiting, (self._rank(queue[-1]), job))
        for _, job in waiting:
            self._refuse(job, "no_slot")
        return self._result

    def _rank(self, chunk: Ready) -> tuple[int, int, float, int]:
        """Order: priority, then what its client has out, then age."""
        return (-chunk.priority, self._out[chunk.client], chunk.since, chunk.id)

    def _has_slots(self) -> bool:
        return any(free > 0 for free in self._free.values())

    def _refuse(self, job: str, why: str, count: int = 1) -> None:
        self._result.refusals.setdefault(job, Counter())[why] += count

    def _fill(self, chunk: Ready) -> None:
        """Give the chunk to as many nodes as it needs, best first."""
        tried, networks = set(chunk.tried), set(chunk.networks)
        checks = list(chunk.checks)
        pinned = chunk.numeric_class
        granted = 0
        ranked = sorted(self._nodes, key=lambda node: (-self._score(chunk, node), node.id))
        for node in ranked:
            needed = self._needed(chunk, checks) - chunk.granted
            if (
                granted >= min(needed, chunk.attempts_left)
                or len(self._result.grants) >= self._limit
            ):
                break
            why = self._gate(chunk, node, tried=tried, networks=networks, pinned=pinned)
            if why is not None:
                self._refuse(chunk.job, why)
                continue
            record = node.records.get(chunk.model, Record())
            self._take(chunk, node, record)
            granted += 1
            tried.add(node.owner)
            checks.append(record.checks)
            if node.network:
                networks.add(node.network)
            if chunk.is_class_pinned and not pinned:
                pinned = node.numeric_class
                self._result.pinned[chunk.id] = pinned
        if granted:
            self._result.wanted[chunk.id] = self._needed(chunk, checks)

    def _needed(self, chunk: Ready, checks: Sequence[float]) -> int:
        """Return how many replicas the chunk wants with what it has been given."""
        extra = len(checks) - len(chunk.checks)
        more = acceptance.missing(target_error=chunk.target_error, mode=chunk.mode, checks=checks)
        return max(chunk.wanted, chunk.granted + extra + more)

    def _gate(
        self,
        chunk: Ready,
        node: Candidate,
        *,
        tried: set[int],
        networks: set[str],
        pinned: str,
    ) -> Refusal | None:
        record = node.records.get(chunk.model)
        is_asked = chunk.job in node.jobs or (record is not None and not chunk.needs_ack)
        gates: tuple[tuple[bool, Refusal], ...] = (
            (node.owner == chunk.client, "own_node"),
            (not is_asked, "not_asked"),
            (
                node.client_categories is not None
                and chunk.client_category not in node.client_categories,
                "client_category",
            ),
            (record is not None and record.is_barred, "barred"),
            (bool(pinned) and node.numeric_class != pinned, "numeric_class"),
            (node.owner in tried, "owner_tried"),
            (any(_pair(node.owner, other) in self._apart for other in tried), "kept_apart"),
            (bool(node.network) and node.network in networks, "same_network"),
            (self._free[node.id] <= 0, "no_slot"),
            (self._quota_left(chunk, node, record) <= 0, "quota"),
            (self._is_too_slow(chunk, node, record), "slow"),
        )
        return next((why for is_shut, why in gates if is_shut), None)

    def _quota_left(self, chunk: Ready, node: Candidate, record: Record | None) -> int:
        known = Record() if record is None else record
        return self._quota.get((node.id, chunk.model), known.quota_left)

    def _score(self, chunk: Ready, node: Candidate) -> float:
        record = node.records.get(chunk.model, Record())
        score = SCORE_CACHED * record.has_model + SCORE_LOST * (node.owner in chunk.lost)
        # The idlest first, by less than any other part.
        score += self._free[node.id] / (1 + self._free[node.id])
        usual = self._usual(chunk.model)
        if usual:
            score += SCORE_SPEED * usual / (usual + self._image_ms(node, record.image_ms or usual))
        if chunk.is_urgent:
            score += SCORE_RECORD * min(1.0, record.checks / RECORD_FULL)
        return score

    def _usual(self, model: str) -> float:
        """Return the median pace of the nodes looked at, which unknown ones are taken to have.

        0.0 when none is known. Of the nodes, because the score only compares.
        """
        if model not in self._usual_ms:
            records = (node.records.get(model) for node in self._nodes)
            known = [record.image_ms for record in records if record and record.image_ms]
            self._usual_ms[model] = statistics.median(known) if known else 0.0
        return self._usual_ms[model]

    def _image_ms(self, node: Candidate, image_ms: float) -> float:
        """Return what a picture takes where it may have to wait for another one first."""
        return image_ms * (2 if self._would_wait(node) else 1)

    def _would_wait(self, node: Candidate) -> bool:
        """Say whether its only free place is the one ahead, beyond what it computes at a time."""
        given = node.free - self._free[node.id]
        return self._free[node.id] == 1 and node.held + given > 0

    def _is_too_slow(self, chunk: Ready, node: Candidate, record: Record | None) -> bool:
        if record is None or record.image_ms is None or not self._would_wait(node):
            return False
        return self._image_ms(node, record.image_ms) * chunk.images > self._wait_ms_max

    def _take(self, chunk: Ready, node: Candidate, record: Record) -> None:
        self._result.grants.append(Grant(chunk=chunk.id, node=node.id))
        self._result.checks[chunk.id, node.id] = record.checks
        self._free[node.id] -= 1
        key = (node.id, chunk.model)
        self._quota[key] = self._quota.get(key, record.quota_left) - 1
        self._out[chunk.job] += 1
        self._out[chunk.client] += 1


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
