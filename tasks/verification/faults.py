"""Write down wrong answers; `strikes` carries out what follows.

Whether one was nearly right is decided here, from the answer it is measured by.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from tasks.models import Apart, Chunk, Replica, Strike
from tasks.verification import agreement


def record(
    *, replicas: Sequence[Replica], model_id: str, cause: Strike.Cause, now: datetime
) -> None:
    """Insert one strike for each replica; one that has its strike gets no second (strike_once).

    Runs inside the caller's transaction.
    """
    assert connection.in_atomic_block
    Strike.objects.bulk_create(
        [
            Strike(
                replica=replica,
                node_id=replica.node_id,
                model_id=model_id,
                cause=cause,
                created_at=now,
            )
            for replica in sorted(replicas, key=lambda row: row.pk)
        ],
        ignore_conflicts=True,
    )


def is_near(
    given: agreement.Answer, right: agreement.Answer, *, score_threshold: float, kind: str
) -> bool:
    """Say of a wrong answer whether it differs in digits only, or in what it says."""
    return agreement.same(
        given, right, score_threshold=score_threshold, kind=kind, tolerance=agreement.LOOSE
    )


def keep_apart(*, groups: Sequence[Sequence[Replica]], chunk: Chunk, now: datetime) -> None:
    """Never again ask about one chunk two owners who gave the same wrong answer.

    Runs inside the caller's transaction.
    """
    assert connection.in_atomic_block
    pairs = {
        (min(one.operator_id, other.operator_id), max(one.operator_id, other.operator_id))
        for group in groups
        for one, other in itertools.combinations(group, 2)
    }
    Apart.objects.bulk_create(
        [
            Apart(first_id=first, second_id=second, chunk=chunk, created_at=now)
            for first, second in sorted(pairs)
        ],
        ignore_conflicts=True,
    )
