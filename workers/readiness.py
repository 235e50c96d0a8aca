"""Models fetched, opened and measured before work asks for them, on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from workers import benchmark, execution, memory, modelstore, sandbox, sessions, transfer
from workers.config import BuiltInModel, Home
from workers.execution import Workshop
from workers.protocol.modelcheck.refusals import Refused

logger = logging.getLogger(__name__)

#: What can be wrong with a model, its file or the room for it.
MODEL_ERRORS = (
    transfer.TransferFailed,
    modelstore.NoSpace,
    sessions.Corrupt,
    sessions.Unusable,
    sessions.OutOfMemory,
    sandbox.NotLocked,
    sandbox.RoomFailed,
    sandbox.RoomUnavailable,
    Refused,
    OSError,
)


class Readiness:
    """Gets models ready in the background. Its methods do not wait and raise nothing."""

    def __init__(
        self,
        *,
        models: Sequence[BuiltInModel],
        workshop: Workshop,
        home: Home,
        background: Executor,
    ) -> None:
        self._models = models
        self._workshop = workshop
        self._home = home
        self._background = background
        #: How fast a slot is; 0 before it was measured.
        self.images_per_second = 0.0

    def begin(self, then: Callable[[], None]) -> None:
        """Fetch, open and measure the built-in models; call `then` whatever came of it."""
        self._submit(lambda: self._get_ready(then))

    def prepare(self, digest: str) -> None:
        """Open a cached model, so that the first assignment finds it warm."""
        if not self._workshop.sessions.is_open(digest):
            self._submit(lambda: self._open_cached(digest))

    def make_room(self) -> None:
        """Make the empty room in reserve, after memory was given back."""
        self._submit(self._make_room)

    def _submit(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the executor has been shut down
            self._background.submit(work)

    def _get_ready(self, then: Callable[[], None]) -> None:
        try:
            for model in self._models[: sessions.OPEN_MAX]:
                self._get_model_ready(model)
            self._measure()
        finally:
            then()

    def _get_model_ready(self, model: BuiltInModel) -> None:
        try:
            execution.open_model(model, workshop=self._workshop)
        except MODEL_ERRORS as exc:
            # Not fatal: an assignment brings a fresh address, or its own failure report.
            logger.warning(
                "a built-in model is not ready: %s", exc, extra={"model_digest": model.digest}
            )

    def _measure(self) -> None:
        """Note how fast a slot is, for the node's page."""
        if not self._models:
            return
        try:
            speed = benchmark.quick(self._models[0], workshop=self._workshop, home=self._home)
            self.images_per_second = speed.images_per_second
            memory.trim()
        except MODEL_ERRORS as exc:
            logger.warning("the speed was not measured: %s", exc)

    def _open_cached(self, digest: str) -> None:
        path = self._workshop.store.find(digest)
        contract = self._workshop.sessions.contract(digest)
        if path is None or contract is None:
            return
        try:
            self._workshop.sessions.open(digest, path, contract)
            memory.trim()
        except MODEL_ERRORS as exc:
            logger.warning("a model cannot be opened: %s", exc, extra={"model_digest": digest})

    def _make_room(self) -> None:
        try:
            self._workshop.sessions.spare.prepare()
        except sandbox.RoomUnavailable as exc:
            logger.warning("no room in reserve: %s", exc)
