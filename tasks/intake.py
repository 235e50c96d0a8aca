"""Write checked reports into the rows: one statement for a whole batch.

`store` is the way in; on PostgreSQL it is one statement over arrays, elsewhere
`store_plainly`, which says the same row by row and is what the statement is tested against.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F
from django.db.models.functions import Greatest

from payments import arrays
from tasks.answers import Found
from tasks.models import Chunk, Credibility, Node, Replica, SignedReport

_S = Replica.State
#: While a chunk is in one of these its answers may still change something.
UNDECIDED = (Chunk.State.OPEN, Chunk.State.PROVISIONAL)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A message as received, with its sender's signature."""

    node_id: str
    body: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One report, checked: its answer, or the reason why it is none."""

    replica_id: int
    chunk_id: int
    #: Whether its lease had run out: then the chunk needs the slot back.
    was_lost: bool
    node_id: str
    model_id: str
    #: None: refused.
    answer: Found | None
    #: What it found on the gold picture among the others.
    gold_answer: list[list[float]] | None
    #: One of `tasks.reasons.ReplicaReason` when refused.
    reason: str
    compute_ms: int
    numeric_class: str
    proof: Proof

    @property
    def state(self) -> Replica.State:
        """What the replica becomes."""
        return _S.REJECTED if self.answer is None else _S.REPORTED

    @property
    def slots(self) -> int:
        """What its chunk's `granted` changes by."""
        if self.was_lost:
            return 0 if self.answer is None else 1
        return -1 if self.answer is None else 0


def store(entries: Sequence[Entry], *, now: datetime) -> list[int]:
    """Store these reports and their evidence; return the ids of the replicas that changed.

    Each replica at most once. Left out are those that were not in the state they were read
    in any more. Runs inside the caller's transaction, under the locks of the chunks.
    """
    assert connection.in_atomic_block
    if not entries:
        return []
    if connection.vendor == "postgresql":
        return _store_at_once(entries, now=now)
    return store_plainly(entries, now=now)


def store_plainly(entries: Sequence[Entry], *, now: datetime) -> list[int]:
    """Do what `store` does, row by row.

    What gives a slot back comes first: else a chunk would want one more than is ever out.
    """
    kept: dict[Proof, SignedReport] = {}
    stored = []
    for entry in sorted(entries, key=lambda entry: entry.slots):
        waiting = Replica.objects.filter(
            pk=entry.replica_id,
            state=_S.LOST if entry.was_lost else _S.LEASED,
            chunk__state__in=UNDECIDED,
        )
        if not waiting.exists():
            continue
        if entry.proof not in kept:
            kept[entry.proof] = SignedReport.objects.create(
                node_id=entry.proof.node_id,
                body=entry.proof.body,
                signature=entry.proof.signature,
                received_at=now,
            )
        believed = Credibility.objects.filter(node=entry.node_id, model=entry.model_id).first()
        node = Node.objects.get(pk=entry.node_id)
        waiting.update(
            state=entry.state,
            reason=entry.reason,
            answer=entry.answer,
            gold_answer=entry.gold_answer,
            compute_ms=entry.compute_ms,
            numeric_class=entry.numeric_class,
            checks_tenths=believed.checks_tenths if believed else 0,
            reported_at=now,
            doubted_at=node.quarantined_at or (believed.quarantined_at if believed else None),
            signed_report=kept[entry.proof],
        )
        if entry.slots:
            granted = F("granted") + entry.slots
            Chunk.objects.filter(pk=entry.chunk_id).update(
                granted=granted, wanted=Greatest(F("wanted"), granted)
            )
        stored.append(entry.replica_id)
    return stored


def _store_at_once(entries: Sequence[Entry], *, now: datetime) -> list[int]:
    proofs = list(dict.fromkeys(entry.proof for entry in entries))
    places = {proof: place for place, proof in enumerate(proofs, start=1)}
    columns: list[list[object]] = [
        [entry.replica_id for entry in entries],
        [str(_S.LOST if entry.was_lost else _S.LEASED) for entry in entries],
        [str(entry.state) for entry in entries],
        [entry.reason for entry in entries],
        [None if entry.answer is None else json.dumps(entry.answer) for entry in entries],
        [None if entry.gold_answer is None else json.dumps(entry.gold_answer) for entry in entries],
        [entry.compute_ms for entry in entries],
        [entry.numeric_class for entry in entries],
        [entry.node_id for entry in entries],
        [entry.model_id for entry in entries],
        [entry.slots for entry in entries],
        [places[entry.proof] for entry in entries],
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _STORE,
            [
                *map(arrays.literal, columns),
                arrays.literal(proof.node_id for proof in proofs),
                arrays.literal(proof.body for proof in proofs),
                arrays.literal(proof.signature for proof in proofs),
                now,
                now,
            ],
        )
        return [replica_id for (replica_id,) in cursor.fetchall()]


#: Reaches every row by its key: replicas, chunks and credibilities (credibility_once). OFFSET 0
#: keeps the look-ups apart: joined, a batch may be planned as a scan of all chunks.
_STORE = """
WITH entry AS MATERIALIZED (
    SELECT * FROM unnest(
        %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::int[], %s::text[], %s::text[], %s::text[], %s::int[], %s::bigint[]
    ) AS e(replica_id, was, state, reason, answer, gold_answer,
           compute_ms, numeric_class, node_id, model_id, slots, place)
), due AS MATERIALIZED (
    SELECT e.*, r.chunk_id, coalesce(b.checks_tenths, 0) AS checks_tenths,
        coalesce(n.quarantined_at, b.quarantined_at) AS doubted_at
    FROM entry e
    CROSS JOIN LATERAL (
        SELECT chunk_id FROM tasks_replica
        WHERE id = e.replica_id AND state = e.was OFFSET 0
    ) r
    CROSS JOIN LATERAL (
        SELECT 1 FROM tasks_chunk
        WHERE id = r.chunk_id AND state IN ('open', 'provisional') OFFSET 0
    ) c
    CROSS JOIN LATERAL (
        SELECT quarantined_at FROM tasks_node WHERE id = e.node_id OFFSET 0
    ) n
    LEFT JOIN tasks_credibility b ON b.node_id = e.node_id AND b.model_id = e.model_id
), proof AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('tasks_signedreport', 'id')) AS id, p.*
    FROM unnest(%s::text[], %s::text[], %s::text[])
        WITH ORDINALITY AS p(node_id, body, signature, place)
    WHERE p.place IN (SELECT place FROM due)
), kept AS (
    INSERT INTO tasks_signedreport (id, node_id, body, signature, received_at)
    SELECT id, node_id, body, signature, %s FROM proof ORDER BY id
), slots AS (
    UPDATE tasks_chunk c
    SET granted = c.granted + d.slots, wanted = greatest(c.wanted, c.granted + d.slots)
    FROM (SELECT chunk_id, sum(slots)::int AS slots FROM due WHERE slots <> 0 GROUP BY 1) d
    WHERE c.id = d.chunk_id
)
UPDATE tasks_replica r
SET state = d.state, reason = d.reason, answer = d.answer::jsonb,
    gold_answer = d.gold_answer::jsonb, compute_ms = d.compute_ms,
    numeric_class = d.numeric_class, checks_tenths = d.checks_tenths,
    reported_at = %s, doubted_at = d.doubted_at, signed_report_id = p.id
FROM due d JOIN proof p ON p.place = d.place
WHERE r.id = d.replica_id AND r.state = d.was
RETURNING r.id
"""
