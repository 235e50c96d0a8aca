"""Count what nodes earned in trust: checks passed, answers accepted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import Case, F, QuerySet, Value, When

from tasks import bulk, pace, quotas
from tasks.models import Credibility, Replica
from tasks.verification import credibility

#: From here a node's answer is taken on its word alone in the standard tier.
TRUSTED_TENTHS = 200


def earned_tenths(replica: Replica, *, is_confirmed: bool) -> int:
    """Return the checks a standing answer has earned in all, in tenths.

    `is_confirmed`: another owner, or the referee, says the same. Agreeing on nothing found
    earns almost nothing: a node that looks at nothing gets it right as well.
    """
    if replica.doubted_at is not None:
        return replica.credited_tenths  # given before its node was caught: it proves nothing
    earned = credibility.CHECK_TENTHS if replica.gold_outcome == Replica.Gold.PASSED else 0
    if is_confirmed:
        assert replica.answer is not None
        is_empty = not any(replica.answer)
        earned += credibility.EMPTY_CHECK_TENTHS if is_empty else credibility.CHECK_TENTHS
    return max(earned, replica.credited_tenths)


class _Record(NamedTuple):
    """A node's row, locked."""

    answers: int
    image_ms: float | None


def paced(replica: Replica, *, items: int) -> list[tuple[float, float]]:
    """Return what an answer says of its node's pace, for `pace.follow_all`; nothing if unknown.

    `items`: pictures of its chunk, to which a gold one was perhaps added.
    """
    if replica.compute_ms is None or replica.reported_at is None:
        return []
    wall = replica.reported_at - replica.assigned_at
    return [
        pace.of_answer(
            compute_ms=replica.compute_ms,
            wall_ms=max(0.0, wall.total_seconds() * 1000),
            images=items + (replica.gold_id is not None),
        )
    ]


def count(
    *,
    model_id: str,
    gained_tenths: Mapping[str, int],
    answered: Mapping[str, Sequence[tuple[float, float]]],
) -> dict[str, int]:
    """Credit nodes by id with checks, and those `answered` with one accepted answer each.

    `answered` holds what the answer says of the node's pace (`paced`). Returns the number of
    accepted answers each of `answered` has now. Runs inside the caller's transaction, which
    holds the chunk: locks the nodes' rows in order.
    """
    assert connection.in_atomic_block
    node_ids = sorted(
        {*answered, *(node_id for node_id, tenths in gained_tenths.items() if tenths)}
    )
    if not node_ids:
        return {}
    known = _lock(model_id, node_ids)
    by_gain: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for node_id in node_ids:
        by_gain[gained_tenths.get(node_id, 0), int(node_id in answered)].append(node_id)
    for (tenths, more), group in by_gain.items():
        Credibility.objects.filter(model=model_id, node__in=group).update(
            checks_tenths=F("checks_tenths") + tenths,
            answers=F("answers") + more,
            quota=quotas.raised(more),
            state=_state_after(tenths),
        )
    for node_id in sorted(answered):
        Credibility.objects.filter(model=model_id, node=node_id).update(
            image_ms=pace.follow_all(known[node_id].image_ms, answered[node_id])
        )
    return {node_id: known[node_id].answers + 1 for node_id in answered}


_COUNT = """
UPDATE tasks_credibility
SET checks_tenths = checks_tenths + given.column2, answers = answers + given.column3,
    quota = CASE WHEN quota * given.column4 > %s THEN %s ELSE quota * given.column4 END,
    state = CASE
        WHEN checks_tenths + given.column2 >= %s AND state IN ('probation', 'watched')
        THEN 'trusted' ELSE state END,
    image_ms = CAST(given.column5 AS double precision)
FROM {given}
WHERE tasks_credibility.node_id = given.column1
    AND tasks_credibility.model_id = given.column6
"""


def count_all(
    *,
    model_id: str,
    rows: Sequence[Replica],
    joined: Collection[int],
    earned: Mapping[int, int],
    items: Mapping[int, int],
) -> dict[int, int]:
    """Credit the nodes of many standing answers; return the place of each that joined.

    `rows` with their replicas' ids in `joined` are accepted now; those of one node are
    numbered in the order of `rows`. `items`: pictures of each chunk by its id. Otherwise as
    `count`. One statement for all nodes.
    """
    gained, accepted = Counter[str](), Counter[str]()
    paces: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        gained[row.node_id] += earned[row.pk] - row.credited_tenths
        accepted[row.node_id] += row.pk in joined
        if row.pk in joined:
            paces[row.node_id] += paced(row, items=items[row.chunk_id])
    moved = sorted(node for node in accepted if accepted[node] or gained[node])
    known = _lock(model_id, moved)
    places = Counter({node: known[node].answers for node in moved})
    bulk.update(
        _COUNT,
        [
            (
                node,
                gained[node],
                accepted[node],
                quotas.factor(accepted[node]),
                pace.follow_all(known[node].image_ms, paces[node]),
                model_id,
            )
            for node in moved
        ],
        types=("text", "int", "int", "int", "float8", "text"),
        values=(quotas.QUOTA_MAX, quotas.QUOTA_MAX, TRUSTED_TENTHS),
    )
    sequences = {}
    for row in rows:
        if row.pk in joined:
            places[row.node_id] += 1
            sequences[row.pk] = places[row.node_id]
    return sequences


def _state_after(gained_tenths: int) -> Case:
    """A node with enough checks is trusted; who is barred stays so until the time is over."""
    return Case(
        When(
            checks_tenths__gte=TRUSTED_TENTHS - gained_tenths,
            state__in=[Credibility.State.PROBATION, Credibility.State.WATCHED],
            then=Value(Credibility.State.TRUSTED.value),
        ),
        default=F("state"),
    )


def _lock(model_id: str, node_ids: Collection[str]) -> dict[str, _Record]:
    """Lock the nodes' rows, made if need be, and return them."""
    rows = (
        Credibility.objects.select_for_update(of=("self",))
        .filter(model=model_id, node__in=node_ids)
        .order_by("node_id")
    )
    found = _read(rows)
    if len(found) < len(node_ids):
        Credibility.objects.bulk_create(
            [
                Credibility(model_id=model_id, node_id=node_id)
                for node_id in node_ids
                if node_id not in found
            ],
            ignore_conflicts=True,
        )
        found = _read(rows)
    return found


def _read(rows: QuerySet[Credibility]) -> dict[str, _Record]:
    return {
        node_id: _Record(answers, image_ms)
        for node_id, answers, image_ms in rows.values_list("node_id", "answers", "image_ms")
    }
