"""Compute accepted results again, because staff want to be sure.

An accepted chunk in its hold window gets another independent owner, as an audit does; what
comes of it is the policy's matter: agreement earns checks, a difference goes to the referee.
The result stands meanwhile but does not become final; where no other owner can be had, the
referee decides. Or the referee is asked at once. The platform pays.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from django.db import transaction

from tasks import dispatch
from tasks.errors import Refused
from tasks.models import Chunk, Job, Replica, StaffAction
from tasks.operations import log
from tasks.verification import verdicts

logger = logging.getLogger(__name__)

#: Chunks asked about in one call; the next takes up what is left.
CHUNKS_MAX: Final = 500

By = Literal["owner", "referee"]


class NothingToVerify(Refused):
    """Nothing of it is accepted and unsettled, or all is being verified already."""

    code, status = "wrong_state", 409


class UnknownChunk(Refused):
    """The job has no chunk of that number."""

    code, status, field = "unknown_chunk", 422, "chunk"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How many chunks are computed again, and whether there are more."""

    chunks: int
    is_more_left: bool


def reverify(
    *, job_id: str, chunk_index: int | None, by: By, staff_id: int, note: str, now: datetime
) -> Asked:
    """Have accepted chunks of a job (or one of them) computed again.

    A chunk that waits for such a check, or that the referee computed, is left alone: asking
    twice asks once.

    Raises:
        UnknownChunk, NothingToVerify: nothing was changed.
    """
    with transaction.atomic(durable=True):
        chosen = _lock(job_id, chunk_index, by)
        asked = chosen[:CHUNKS_MAX]
        if not asked:
            raise NothingToVerify("Nothing of it is accepted, unsettled and not in check.")
        _ask(asked, by, now=now)
        log.record(
            staff_id=staff_id,
            verb=StaffAction.Verb.REVERIFY,
            target=job_id,
            note=note,
            detail={"by": by, "chunks": len(asked), "chunk": chunk_index},
            now=now,
        )
    logger.warning("results computed again", extra={"job_id": job_id, "chunks": len(asked)})
    for chunk in asked:
        verdicts.advance(chunk_id=chunk.pk, now=now)
    with transaction.atomic():
        dispatch.schedule(job_ids=[job_id])
    return Asked(chunks=len(asked), is_more_left=len(chosen) > CHUNKS_MAX)


def _lock(job_id: str, chunk_index: int | None, by: By) -> list[Chunk]:
    """Lock chunks that may be asked about, in order; one more than are taken."""
    rows = Chunk.objects.filter(job=job_id)
    if chunk_index is not None:
        rows = rows.filter(index=chunk_index)
        if not rows.exists():
            raise UnknownChunk("The job has no chunk of that number.")
    found = rows.filter(state=Chunk.State.PROVISIONAL, referee_asked_at=None, reason="")
    if by == "owner":
        found = found.filter(owners_wanted=0)
    locked = found.select_for_update(of=("self",), no_key=True).select_related("job")
    return list(locked.order_by("pk")[: CHUNKS_MAX + 1])


def _ask(chunks: Sequence[Chunk], by: By, *, now: datetime) -> None:
    """Write it on the chunks; `stirred_at`: should nobody live to decide them at once."""
    believed = Counter(
        Replica.objects.filter(
            chunk__in=[chunk.pk for chunk in chunks],
            state=Replica.State.ACCEPTED,
            doubted_at=None,
        ).values_list("chunk", flat=True)
    )
    for chunk in chunks:
        # In a race nothing is compared: only the referee can tell.
        is_for_referee = by == "referee" or chunk.job.mode == Job.Mode.RACE
        chunk.stirred_at = now
        if is_for_referee:
            chunk.referee_asked_at = now
            dispatch.referee(chunk_id=chunk.pk)
        else:
            chunk.owners_wanted = believed[chunk.pk] + 1
    Chunk.objects.bulk_update(
        chunks, ["stirred_at", "referee_asked_at", "owners_wanted"], batch_size=CHUNKS_MAX
    )
