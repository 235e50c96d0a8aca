"""One process at a time, where several would only be in each other's way.

Nothing is safe because of a turn: whoever waited too long goes ahead without (a stopped
process must not stop all others), so the rows' own constraints must hold. On SQLite there
is one scheduling process at a time anyway, and a turn is given at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from django.db import OperationalError, connection, transaction

logger = logging.getLogger(__name__)

#: First key of our advisory locks; the second is the `Turn`.
SPACE: Final = 0x6E6F6465
WAIT_MS_MAX: Final = 1000
#: PostgreSQL's code for a lock that was not given in time.
LOCK_NOT_AVAILABLE: Final = "55P03"


class Turn(IntEnum):
    """What is done in turns. Session locks: a transaction pooler would lose them."""

    SCHEDULE = 1
    NEXT_TO_SCHEDULE = 2


@contextmanager
def schedule(*, may_skip: bool) -> Iterator[bool]:
    """Give the caller its turn to schedule, false if another will do it in its place.

    `may_skip`: the caller looks at everything. Then one that waits already is enough: it
    begins after now, and sees all that is committed. Called outside of transactions.
    """
    if connection.vendor != "postgresql":
        yield True
        return
    if not _try(Turn.SCHEDULE):
        if may_skip and not _try(Turn.NEXT_TO_SCHEDULE):
            yield False
            return
        try:
            has_turn = _wait(Turn.SCHEDULE)
        finally:
            if may_skip:
                _leave(Turn.NEXT_TO_SCHEDULE)
        if not has_turn:
            logger.warning("scheduling without waiting any longer for the other process")
            yield True
            return
    try:
        yield True
    finally:
        _leave(Turn.SCHEDULE)


def _try(turn: Turn) -> bool:
    return bool(_select("SELECT pg_try_advisory_lock(%s, %s)", turn))


def _leave(turn: Turn) -> None:
    _select("SELECT pg_advisory_unlock(%s, %s)", turn)


def _wait(turn: Turn) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MS_MAX}")
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [SPACE, turn])
    except OperationalError as exc:
        if getattr(exc.__cause__, "pgcode", "") == LOCK_NOT_AVAILABLE:
            return False
        raise
    return True


def _select(statement: str, turn: Turn) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement, [SPACE, turn])
        return cursor.fetchone()[0]
