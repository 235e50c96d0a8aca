"""From an assignment to a report. Every failure becomes a report with a reason code."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Protocol

import httpx

from workers import agent, answering, assignments, modelstore, sandbox, sessions, transfer
from workers.fetching import Inputs
from workers.modelstore import ModelStore
from workers.protocol import messages, pictures
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.manifest import Contract
from workers.protocol.modelcheck.refusals import Refused
from workers.sessions import OpenModel, Sessions

logger = logging.getLogger(__name__)

#: Reason codes by kind of failure.
_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((pictures.Unreadable,), "unreadable_input"),
    ((sessions.Corrupt,), "digest_mismatch"),
    ((sessions.Unusable, Refused, BadOutput), "model_unusable"),
    ((sessions.OutOfMemory, MemoryError), "out_of_memory"),
    ((modelstore.NoSpace,), "disk_full"),
    ((sandbox.RoomDied,), "model_died"),
    ((sandbox.RoomHung,), "model_hung"),
    ((sandbox.RoomLied,), "model_lied"),
    ((sandbox.NotLocked,), agent.NOT_LOCKED),
    ((sandbox.RoomUnavailable,), "room_unavailable"),
)


class Cancelled(Exception):
    """Nobody waits for this assignment any more; there is nothing to report."""


class _Failed(Exception):
    """Why the assignment has no answer, as a reason code."""


class ModelSource(Protocol):
    """Which model, where to fetch it, and how to use it."""

    @property
    def digest(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def url(self) -> str: ...

    @property
    def contract(self) -> Contract: ...


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What computing needs; shared by all slots and safe for threads."""

    store: ModelStore
    sessions: Sessions
    client: httpx.Client
    downloads: Executor

    @cached_property
    def inputs(self) -> Inputs:
        """Inputs of assignments, fetched ahead."""
        return Inputs(client=self.client, downloads=self.downloads)


def execute(
    assignment: messages.Assignment,
    *,
    workshop: Workshop,
    clock: Callable[[], datetime],
    is_cancelled: Callable[[], bool],
) -> messages.Report:
    """Compute the assignment and return the report, of success or of failure.

    Raises:
        Cancelled: `is_cancelled` became true; it is asked before each picture.
    """
    if assignments.is_expired(assignment, now=clock()):
        return _failure(assignment, reason="expired", now=clock())
    try:
        answers, compute_seconds = _compute(assignment, workshop, is_cancelled)
    except Cancelled:
        raise
    except _Failed as exc:
        logger.warning(
            "assignment failed: %s",
            exc,
            extra={"assignment": assignment.assignment, "cause": str(exc.__cause__)},
        )
        return _failure(assignment, reason=str(exc), now=clock())
    except Exception:  # an entry point: the platform must hear of a fault of ours, too
        logger.exception("assignment failed", extra={"assignment": assignment.assignment})
        return _failure(assignment, reason="internal_error", now=clock())
    return messages.Report(
        sent_at=clock(),
        node=assignment.node,
        assignment=assignment.assignment,
        nonce=assignment.nonce,
        model_digest=assignment.model.digest,
        status="done",
        answers=answers,
        compute_ms=round(compute_seconds * 1000),
        numeric_class=sessions.numeric_class(),
    )


def open_model(reference: ModelSource, *, workshop: Workshop) -> OpenModel:
    """Return the model's session, fetched and opened as needed.

    A file that the disk damaged is fetched once more.

    Raises:
        transfer.TransferFailed, modelstore.NoSpace, and what `Sessions.open` raises.
    """
    try:
        return _open(reference, workshop)
    except sessions.Corrupt:
        workshop.store.remove(reference.digest)
        return _open(reference, workshop)


def _open(reference: ModelSource, workshop: Workshop) -> OpenModel:
    path = workshop.store.add(
        digest=reference.digest,
        size_bytes=reference.size_bytes,
        url=reference.url,
        client=workshop.client,
    )
    return workshop.sessions.open(reference.digest, path, reference.contract)


def _compute(
    assignment: messages.Assignment, workshop: Workshop, is_cancelled: Callable[[], bool]
) -> tuple[list[messages.Answer], float]:
    """Return the answers and the seconds spent computing, downloads left out."""
    try:
        model = open_model(assignment.model, workshop=workshop)
        answers: list[messages.Answer] = []
        compute_seconds = 0.0
        for each, data in workshop.inputs.fetch(assignment):
            _check_wanted(is_cancelled)
            started = time.perf_counter()
            answers.append(
                answering.answer(
                    data,
                    model,
                    class_ids=assignment.model.class_ids,
                    position=each.position,
                    floor=assignment.score_floor,
                )
            )
            compute_seconds += time.perf_counter() - started
    except (Cancelled, _Failed):
        raise
    except Exception as exc:
        reason = _reason(exc)
        if reason is None:
            raise
        raise _Failed(reason) from exc
    return answers, compute_seconds


def _check_wanted(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise Cancelled


def _reason(exc: Exception) -> str | None:
    """Return the reason code of an anticipated failure."""
    if isinstance(exc, transfer.TransferFailed):
        return exc.code
    if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
        return "disk_full"
    return next((code for kinds, code in _REASONS if isinstance(exc, kinds)), None)


def _failure(assignment: messages.Assignment, *, reason: str, now: datetime) -> messages.Report:
    return assignments.unanswered(
        assignment,
        status="failed",
        reason=reason,
        numeric_class=sessions.numeric_class(),
        now=now,
    )
