"""The running node: carries out what the agent decides, on threads of its own.

Celery's threads only verify, ask the agent and hand over; computing happens on the slots,
so that announcements are acknowledged and pauses obeyed while pictures are computed.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workers import (
    agent,
    clock,
    config,
    events,
    execution,
    inbox,
    link,
    memory,
    permission,
    reasons,
    sandbox,
    sessions,
    status,
    steering,
    transfer,
)
from workers.config import Config, Home
from workers.execution import Workshop
from workers.link import Link
from workers.modelstore import ModelStore
from workers.outbox import Outbox
from workers.pin import Pin
from workers.probe import Probe
from workers.protocol import limits, messages
from workers.protocol.allowance import Effective
from workers.readiness import Readiness
from workers.sandbox import RoomLimits
from workers.sessions import Sessions
from workers.steering import Steering
from workers.throttle import Throttle

logger = logging.getLogger(__name__)

#: How often flags and due heartbeats are looked at, seconds.
TICK_SECONDS = 0.5
#: Computing gives way to the operator's own programs; acknowledging does not.
COMPUTE_NICENESS = 10
#: How often the portal is asked for the time, seconds.
CLOCK_SECONDS = 1800
#: The same while the clock is wrong: a node works soon after it was set.
CLOCK_AGAIN_SECONDS = 20
#: How long a stop waits for running pictures and for the broker, seconds.
FINISH_SECONDS_MAX = 60
FLUSH_SECONDS_MAX = 5


def now_utc() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Runtime:
    """One enrolled node at work. `start` once, `stop` once; the rest is safe for threads."""

    def __init__(
        self,
        *,
        home: Home,
        settings: Config,
        key: Ed25519PrivateKey,
        clock: Callable[[], datetime] = now_utc,
        senses: steering.Senses | None = None,
        room_limits: RoomLimits | None = None,
    ) -> None:
        """`senses` tells how the machine is; by default what /proc and /sys say."""
        self._home = home
        self._settings = settings
        self._skew_seconds = 0.0
        self._clock = clock
        built_in = {model.digest: model.contract for model in settings.models}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._agent = agent.Agent(
            node_id=settings.node_id,
            slots=settings.slots,
            numeric_class=sessions.numeric_class(),
            software_version=config.software_version(),
            jitter=lambda: random.uniform(-1, 1),  # noqa: S311 -- spreads load, hides nothing
            only_models=None if sandbox.can_lock() else frozenset(built_in),
        )
        self._throttle = Throttle()
        self._steering = Steering(
            home=home,
            slots_max=settings.slots,
            probe=senses or Probe(home=home.root),
            obey=self._obey,
        )
        self._page: queue.SimpleQueue[messages.NodeSettings] = queue.SimpleQueue()
        self._clock_due = 0.0
        self._work: queue.SimpleQueue[messages.Assignment | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._outbox = Outbox(home.outbox_folder)
        self._link = Link(
            node_id=settings.node_id,
            key=key,
            outbox=self._outbox,
            connect=lambda: link.connect(settings.broker),
            clock=clock,
        )
        self._workshop = Workshop(
            store=ModelStore(home.models_folder, bytes_max=settings.cache_bytes_max),
            sessions=Sessions(built_in=built_in, room_limits=room_limits),
            client=transfer.make_client(self._throttle),
            downloads=ThreadPoolExecutor(settings.slots + 1, thread_name_prefix="download"),
        )
        self._keeper = memory.Keeper(self._workshop.sessions)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._readiness = Readiness(
            models=settings.models,
            workshop=self._workshop,
            home=home,
            background=self._background,
        )
        self._pin = Pin(home=home, settings=settings, background=self._background)
        self._journal = status.Journal(home)
        self._counts: collections.Counter[str] = collections.Counter()
        self._refused: collections.Counter[str] = collections.Counter()
        self._process_started = status.process_started(os.getpid())
        self.was_abandoned = False

    def start(self) -> None:
        """Begin to beat, to compute and to get the built-in models ready."""
        config.remove_drafts(self._home.root)
        self._link.start()
        self._steer()
        self._step(events.Ticked())
        self._write_state()
        for number in range(self._settings.slots):
            threading.Thread(target=self._compute, name=f"slot-{number}", daemon=True).start()
        threading.Thread(target=self._tick_until_ended, name="ticker", daemon=True).start()
        self._readiness.begin(self._note_ready)

    def listen(self, *, is_listening: bool) -> None:
        """Note whether the node's queue is being read."""
        self._step(events.ListeningChanged(is_listening))

    def receive(self, task: str, text: object, signature: object) -> None:
        """Take a message of the platform, from any thread; refused ones are counted."""
        try:
            event = inbox.read(task, text, signature, platform_key=self._pin.key)
        except inbox.Refused as exc:
            self._note_refusal(task, str(exc))
            if str(exc) == "bad_signature":
                self._pin.doubt()
            return
        if sent_at := inbox.sent_at(event):
            self._skew_seconds = (self._clock() - sent_at).total_seconds()
        self._step(event)

    def stop(self, *, is_hurried: Callable[[], bool]) -> None:
        """Hand back what waits, let running pictures finish and reports go out, end.

        Ends at once when `is_hurried` becomes true; then running work is abandoned, and
        its lease runs out on the platform.
        """
        self._step(events.Stopping())
        deadline = time.monotonic() + FINISH_SECONDS_MAX
        while not self._idle.wait(0.1) and time.monotonic() < deadline and not is_hurried():
            pass
        self.was_abandoned = not self._idle.is_set()
        if not is_hurried():
            self._link.flush(FLUSH_SECONDS_MAX)
        self._end()

    def _end(self) -> None:
        self._ended.set()
        for _ in range(self._settings.slots):
            self._work.put(None)
        self._link.close(0 if self.was_abandoned else FLUSH_SECONDS_MAX)
        for executor in (self._background, self._workshop.downloads):
            executor.shutdown(wait=False, cancel_futures=True)
        if not self.was_abandoned:
            # Abandoned rooms die with this process; a report of that would blame the model.
            self._workshop.sessions.close()
            self._workshop.client.close()
        self._write_state(is_stopped=True)

    def _step(self, event: events.Event) -> None:
        """Ask the agent and carry out its instructions, in order and one event at a time."""
        with self._lock:
            for instruction in self._agent.step(event, now=self._clock()):
                self._carry_out(instruction)
            if self._agent.running_count:
                self._idle.clear()
            else:
                self._idle.set()

    def _carry_out(self, instruction: events.Instruction) -> None:  # noqa: C901 -- a line for each
        match instruction:
            case events.SendAck():
                self._link.send_ack(instruction.message)
            case events.SendHeartbeat():
                self._link.send_heartbeat(instruction.message)
            case events.SendReport():
                self._counts[instruction.message.status] += 1
                self._link.send_report(instruction.message)
            case events.Prepare():
                self._readiness.prepare(instruction.model_digest)
            case events.FetchAhead():
                with contextlib.suppress(RuntimeError):  # the executor has been shut down
                    self._workshop.inputs.expect(instruction.assignment)
            case events.Start():
                self._cancelled.discard(instruction.assignment.assignment)
                self._work.put(instruction.assignment)
            case events.Cancel():
                self._counts["withdrawn"] += instruction.is_withdrawn
                self._cancelled.add(instruction.assignment)
            case events.KeepSettings():
                self._page.put(instruction.settings)  # the ticking thread looks soon
            case events.Forget():
                self._link.forget(instruction.reports)
            case events.Drop():
                self._note_refusal(instruction.kind, instruction.reason)

    def _note_refusal(self, kind: str, reason: str) -> None:
        self._refused[reason] += 1
        logger.warning("refused: %s, %s", kind, reason, extra={"kind": kind, "reason": reason})

    def _compute(self) -> None:
        """Compute assignments one after the other, on one slot's thread."""
        _be_nice()
        while (assignment := self._work.get()) is not None:
            report = self._execute(assignment)
            try:
                self._step(events.Finished(assignment.assignment, report))
                self._note_models()
            except Exception:  # an entry point: a fault of ours must not cost a slot
                logger.exception("finishing failed", extra={"assignment": assignment.assignment})

    def _execute(self, assignment: messages.Assignment) -> messages.Report | None:
        """Return the report, or None when the assignment was withdrawn."""
        name = assignment.assignment
        try:
            return execution.execute(
                assignment,
                workshop=self._workshop,
                clock=self._clock,
                is_cancelled=lambda: name in self._cancelled,
            )
        except execution.Cancelled:
            logger.info("withdrawn", extra={"assignment": name})
            return None

    def _note_models(self) -> None:
        """Tell the agent, and so the platform, when an assignment brought a new model."""
        cached = tuple(self._workshop.store.digests())
        with self._lock:
            is_known = set(cached) == set(self._agent.cached) or self._agent.is_downloading
        if not is_known:
            self._step(events.ModelsChanged(cached, is_downloading=False))

    def _note_ready(self) -> None:
        cached = tuple(self._workshop.store.digests())
        self._step(events.ModelsChanged(cached, is_downloading=False))

    def _tick_until_ended(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self._tick()
            except Exception:  # an entry point: a full disk must not end the heartbeats
                logger.exception("tick failed")

    def _tick(self) -> None:
        self._steer()
        if time.monotonic() >= self._clock_due:
            self._clock_due = time.monotonic() + CLOCK_SECONDS
            with contextlib.suppress(RuntimeError):  # the executor has been shut down
                self._background.submit(self._ask_time)
        self._step(events.Ticked())
        self._give_memory_back()
        self._write_state()

    def _give_memory_back(self) -> None:
        with self._lock:
            is_busy = self._agent.running_count > 0 or self._agent.is_downloading
            is_resting = self._agent.reason not in {"", reasons.OFFLINE}
        if self._keeper.look(is_busy=is_busy, is_resting=is_resting):
            logger.info("idle: memory given back")
            self._readiness.make_room()

    def _steer(self) -> None:
        """Pass on what the operator, the page and the machine itself want now."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._steering.keep(self._page.get_nowait())
        for event in self._steering.look(
            now=self._clock(), images_per_second=self._readiness.images_per_second
        ):
            self._step(event)

    def _obey(self, allowed: Effective) -> None:
        self._throttle.set_rate(allowed.bandwidth_kib)
        room = self._settings.cache_bytes_max
        if allowed.cache_mib is not None:
            room = min(room, allowed.cache_mib * limits.MIB)
        self._workshop.store.set_bytes_max(room)

    def _ask_time(self) -> None:
        found = clock.skew_seconds(self._settings.portal_url)
        self._steering.skew_seconds = found
        if found is not None and abs(found) > permission.SKEW_SECONDS_MAX:
            self._clock_due = time.monotonic() + CLOCK_AGAIN_SECONDS

    def _write_state(self, *, is_stopped: bool = False) -> None:
        self._journal.note(self._state(is_stopped=is_stopped))

    def _state(self, *, is_stopped: bool) -> status.State:
        with self._lock:
            return status.State(
                node_id=self._settings.node_id,
                name=self._settings.name,
                software_version=config.software_version(),
                numeric_class=sessions.numeric_class(),
                pid=os.getpid(),
                process_started=self._process_started,
                state="stopped" if is_stopped else "running",
                reason=self._agent.reason,
                slots=self._settings.slots,
                assignments=self._agent.held,
                cached_models=list(self._agent.cached),
                done=self._counts["done"],
                failed=self._counts["failed"],
                handed_back=self._counts["handed_back"],
                withdrawn=self._counts["withdrawn"],
                refused=dict(self._refused),
                unconfirmed_reports=len(self._outbox.pending()),
                images_per_second=self._readiness.images_per_second,
                skew_seconds=self._steering.skew_seconds,
                limits_trouble=self._steering.trouble,
                contact_at=self._link.contact_at,
                trouble=self._link.trouble,
                clock_skew_seconds=self._skew_seconds,
                written_at=self._clock(),
            )


def _be_nice() -> None:
    """Lower this thread's priority, where threads have their own (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), COMPUTE_NICENESS)
