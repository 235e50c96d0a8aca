"""What the node does about what happens: a state machine without any input or output.

`step` takes one event and the time and returns instructions for `runtime` to carry out.
It never waits, reads a clock or sends; so any history can be tried in a test.

Invariants: at most `slots` assignments run; each accepted assignment ends in exactly one
report or was withdrawn; no (assignment, nonce) is taken twice; `sent_at` of heartbeats
rises strictly, because the platform takes an older one for a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from workers import assignments, events, reasons
from workers.assignments import SKEW
from workers.protocol import limits, messages
from workers.taken import Taken
from workers.wanted import Wanted

BUSY = timedelta(seconds=limits.HEARTBEAT_BUSY_SECONDS)
IDLE = timedelta(seconds=limits.HEARTBEAT_IDLE_SECONDS)
#: Heartbeats are spread by this part of their interval, so that fleets do not beat as one.
JITTER = 0.1

#: Reason code of a report when the node already holds all it may name in a heartbeat.
BUSY_REASON = "busy"
#: Reasons for which running work may be finished; for all others it has only this long.
PATIENT = frozenset({reasons.PAUSED, reasons.PAUSED_ON_PAGE})
GRACE = timedelta(seconds=10)
#: The profile goes with the first heartbeat after a change and with each so-manyth.
PROFILE_EVERY = 20
#: Reason code of a node whose kernel lacks the locks that a model of other people needs.
NOT_LOCKED = "room_not_locked"


class Agent:
    """The node's mind. Not safe for threads: `runtime` holds a lock around `step`."""

    def __init__(
        self,
        *,
        node_id: str,
        slots: int,
        numeric_class: str,
        software_version: str,
        jitter: Callable[[], float],
        rest_reason: str = "",
        only_models: frozenset[str] | None = None,
    ) -> None:
        """Note what does not change.

        `jitter` returns numbers from -1 to 1; `rest_reason`: why it must not work yet;
        `only_models` None takes any model.
        """
        self._node_id = node_id
        self._slots = slots
        self._numeric_class = numeric_class
        self._software_version = software_version
        self._jitter = jitter
        self._rest_reason = rest_reason
        self._only_models = only_models
        self._wanted = Wanted()
        self._settings_revision = 0
        self._profile: messages.Profile | None = None
        self._beats_without_profile = 0
        #: When running work is handed back, if the node may not work by then.
        self._yield_at: datetime | None = None
        self._is_downloading = True
        self._is_listening = False
        self._is_stopping = False
        self._cached: tuple[str, ...] = ()
        self._waiting: dict[str, messages.Assignment] = {}
        self._running: dict[str, messages.Assignment] = {}
        self._withdrawn: set[str] = set()
        self._taken = Taken()
        self._beat_at: datetime | None = None
        self._beat_due_at: datetime | None = None

    @property
    def reason(self) -> str:
        """Why the node takes no work, as a code; empty when it does."""
        if self._is_stopping or not self._is_listening:
            return reasons.OFFLINE
        if self._rest_reason:
            return self._rest_reason
        return self._wanted.nothing or (reasons.DOWNLOADING if self._is_downloading else "")

    @property
    def held(self) -> list[str]:
        """Assignments this node is responsible for, running ones first."""
        running = [name for name in self._running if name not in self._withdrawn]
        return running + list(self._waiting)

    @property
    def running_count(self) -> int:
        """Occupied slots, cancelled work that has not ended yet included."""
        return len(self._running)

    @property
    def cached(self) -> tuple[str, ...]:
        """Digests of the cached models, as last told."""
        return self._cached

    @property
    def is_downloading(self) -> bool:
        """Whether the node still gets its first models ready."""
        return self._is_downloading

    def step(self, event: events.Event, *, now: datetime) -> list[events.Instruction]:  # noqa: PLR0911 -- one line for each event
        """Take one event and return what to do about it, in order."""
        match event:
            case events.Announced():
                return self._announced(event.announcement, now)
            case events.Assigned():
                return self._assigned(event.assignments, now)
            case events.Withdrawn():
                return self._withdraw(event.withdrawal, now)
            case events.Finished():
                return self._finished(event)
            case events.SettingsReceived():
                return self._settings_received(event.settings, now)
            case events.Receipted():
                return self._receipted(event.receipt)
            case events.Ticked():
                return self._ticked(now)
            case (
                events.PermissionChanged()
                | events.AllowanceChanged()
                | events.ModelsChanged()
                | events.ListeningChanged()
                | events.Stopping()
            ):
                return self._changed(event, now)

    def _announced(self, message: messages.Announcement, now: datetime) -> list[events.Instruction]:
        if abs(now - message.sent_at) > SKEW:
            return [events.Drop(message.kind, "stale")]
        if self._is_resting:
            return [events.Drop(message.kind, self.reason)]
        if refusal := self._wanted.refusal(kind=message.task, category=message.client_category):
            return [events.Drop(message.kind, refusal)]
        if not self._takes(message.model_digest):
            return [events.Drop(message.kind, NOT_LOCKED)]
        ack = messages.AckMessage(
            sent_at=now,
            node=self._node_id,
            job=message.job,
            slots=self._capacity,
            cached_models=list(self._cached),
        )
        if message.model_digest in self._cached:
            return [events.SendAck(ack), events.Prepare(message.model_digest)]
        return [events.SendAck(ack)]

    def _assigned(
        self, batch: Sequence[messages.Assignment], now: datetime
    ) -> list[events.Instruction]:
        known = set(self._waiting)
        refused = [returned for each in batch for returned in self._admit(each, now)]
        started = self._start_waiting()
        ahead: list[events.Instruction] = [
            events.FetchAhead(message)
            for name, message in self._waiting.items()
            if name not in known
        ]
        is_new = bool(started or ahead)
        return [*refused, *started, *ahead, *([self._beat(now)] if is_new else [])]

    def _admit(self, message: messages.Assignment, now: datetime) -> list[events.Instruction]:
        """Let it wait for a slot, or say why not."""
        refusal = self._refusal(message, now)
        if refusal:
            return [events.Drop(message.kind, refusal)]
        self._taken.add(message, now=now)
        if reason := self._reason_to_hand_back(message):
            return [self._return(message, "handed_back", reason, now)]
        if reason := self._reason_to_fail(message, now):
            return [self._return(message, "failed", reason, now)]
        self._waiting[message.assignment] = message
        return []

    def _reason_to_hand_back(self, message: messages.Assignment) -> str:
        return self.reason if self._is_resting else self._unwanted(message)

    def _unwanted(self, message: messages.Assignment) -> str:
        return self._wanted.refusal(kind=message.model.kind, category=message.client_category)

    def _reason_to_fail(self, message: messages.Assignment, now: datetime) -> str:
        """Not handed back: the platform would send it here again at once, without end."""
        if assignments.is_expired(message, now=now):
            return "expired"
        if not self._takes(message.model.digest):
            return NOT_LOCKED
        if len(self._waiting) + len(self._running) >= limits.RUNNING_MAX:
            return BUSY_REASON
        return ""

    def _takes(self, model_digest: str) -> bool:
        return self._only_models is None or model_digest in self._only_models

    def _refusal(self, message: messages.Assignment, now: datetime) -> str:
        if message.node != self._node_id:
            return "foreign"
        if message.sent_at > now + SKEW:
            return "from_the_future"
        if message in self._taken:
            return "replayed"
        if message.assignment in self._running or message.assignment in self._waiting:
            return "already_held"
        return ""

    def _withdraw(self, message: messages.Withdrawal, now: datetime) -> list[events.Instruction]:
        if message.node != self._node_id:
            return [events.Drop(message.kind, "foreign")]
        if abs(now - message.sent_at) > SKEW:
            return [events.Drop(message.kind, "stale")]
        instructions: list[events.Instruction] = []
        for name in message.assignments:
            self._waiting.pop(name, None)
            if name in self._running and name not in self._withdrawn:
                self._withdrawn.add(name)
                instructions.append(events.Cancel(name))
        return instructions

    def _finished(self, event: events.Finished) -> list[events.Instruction]:
        if self._running.pop(event.assignment, None) is None:
            return [events.Drop("finished", "unknown")]
        instructions: list[events.Instruction] = []
        if event.assignment in self._withdrawn:
            self._withdrawn.discard(event.assignment)
        elif event.report is not None:
            instructions.append(events.SendReport(event.report))
        return instructions + self._start_waiting()

    def _settings_received(
        self, settings: messages.NodeSettings, now: datetime
    ) -> list[events.Instruction]:
        if settings.node != self._node_id:
            return [events.Drop(settings.kind, "foreign")]
        if settings.revision < self._settings_revision:
            return [events.Drop(settings.kind, "replayed")]
        if settings.revision == self._settings_revision:
            return [self._beat(now)]  # the platform does not know yet that we have it
        return [events.KeepSettings(settings)]

    def _receipted(self, receipt: messages.Receipt) -> list[events.Instruction]:
        if receipt.node != self._node_id:
            return [events.Drop(receipt.kind, "foreign")]
        return [events.Forget(tuple(receipt.reports))]

    def _changed(
        self,
        event: events.PermissionChanged
        | events.AllowanceChanged
        | events.ModelsChanged
        | events.ListeningChanged
        | events.Stopping,
        now: datetime,
    ) -> list[events.Instruction]:
        match event:
            case events.PermissionChanged():
                self._rest_reason = event.reason
                is_urgent = bool(event.reason) and event.reason not in PATIENT
                self._yield_at = (self._yield_at or now + GRACE) if is_urgent else None
            case events.AllowanceChanged():
                self._note_allowance(event)
            case events.ModelsChanged():
                self._cached = event.cached[: limits.CACHED_MODELS_MAX]
                self._is_downloading = event.is_downloading
            case events.ListeningChanged(is_listening=self._is_listening):
                return []  # told twice when a connection is lost
            case events.ListeningChanged():
                self._is_listening = event.is_listening
            case events.Stopping():
                self._is_stopping = True
        dropped = self._drop_unwanted(now)
        if self._is_resting:
            returned = [
                self._return(message, "handed_back", self.reason, now)
                for message in self._waiting.values()
            ]
            self._waiting.clear()
            return [*dropped, self._beat(now), *returned]
        return [*dropped, *self._start_waiting(), self._beat(now)]

    @property
    def _is_resting(self) -> bool:
        """Whether nothing new may begin; getting ready is no rest, work may come and wait."""
        return bool(self._rest_reason) or self._is_stopping

    def _note_allowance(self, event: events.AllowanceChanged) -> None:
        self._slots = event.slots
        self._wanted = Wanted(event.kinds, event.categories)
        self._settings_revision = event.settings_revision
        if event.profile != self._profile:
            self._profile = event.profile
            self._beats_without_profile = PROFILE_EVERY

    def _yield_running(self, now: datetime) -> list[events.Instruction]:
        """Hand back what still runs when the grace is over."""
        running = [name for name in self._running if name not in self._withdrawn]
        instructions = [each for name in running for each in self._yield(name, self.reason, now)]
        return [*instructions, self._beat(now)] if instructions else []

    def _yield(self, name: str, reason: str, now: datetime) -> list[events.Instruction]:
        """Stop computing one and hand it back."""
        self._withdrawn.add(name)
        returned = self._return(self._running[name], "handed_back", reason, now)
        return [events.Cancel(name, is_withdrawn=False), returned]

    def _drop_unwanted(self, now: datetime) -> list[events.Instruction]:
        """Hand back at once what new limits forbid, begun or not: none of it is computed on."""
        instructions: list[events.Instruction] = []
        for name in [name for name, held in self._waiting.items() if self._unwanted(held)]:
            message = self._waiting.pop(name)
            reason = self._unwanted(message)
            instructions.append(self._return(message, "handed_back", reason, now))
        for name, message in self._running.items():
            if name not in self._withdrawn and (reason := self._unwanted(message)):
                instructions += self._yield(name, reason, now)
        return instructions

    def _ticked(self, now: datetime) -> list[events.Instruction]:
        yield_at = self._yield_at
        if yield_at is not None and (now >= yield_at or yield_at - now > GRACE):
            yielded = self._yield_running(now)
            if yielded:
                return yielded
        due_at = self._beat_due_at
        # A due time further away than any interval means that the clock was set back.
        if due_at is None or now >= due_at or due_at - now > IDLE * (1 + JITTER):
            self._taken.forget_expired(now=now)
            return [self._beat(now)]
        return []

    @property
    def _capacity(self) -> int:
        """What the platform may send here at one time."""
        return min(self._slots + limits.SLOTS_AHEAD, limits.SLOTS_MAX)

    def _start_waiting(self) -> list[events.Instruction]:
        """Fill free slots; the platform heard of what waits when it came."""
        started: list[events.Instruction] = []
        while self._waiting and len(self._running) < self._slots:
            name = next(iter(self._waiting))
            self._running[name] = self._waiting.pop(name)
            started.append(events.Start(self._running[name]))
        return started

    def _beat(self, now: datetime) -> events.SendHeartbeat:
        interval = BUSY if self._running or self._waiting else IDLE
        self._beat_due_at = now + interval * (1 + JITTER * self._jitter())
        sent_at = now
        if self._beat_at is not None and sent_at <= self._beat_at < now + SKEW:
            sent_at = self._beat_at + timedelta(microseconds=1)
        self._beat_at = sent_at
        profile = self._profile if self._beats_without_profile >= PROFILE_EVERY else None
        self._beats_without_profile = 0 if profile else self._beats_without_profile + 1
        return events.SendHeartbeat(
            messages.Heartbeat(
                sent_at=sent_at,
                node=self._node_id,
                running=self.held,
                slots=self._capacity,
                reason=self.reason,
                cached_models=list(self._cached),
                numeric_class=self._numeric_class,
                software_version=self._software_version,
                settings_revision=self._settings_revision,
                profile=profile,
            )
        )

    def _return(
        self,
        message: messages.Assignment,
        status: Literal["failed", "handed_back"],
        reason: str,
        now: datetime,
    ) -> events.SendReport:
        report = assignments.unanswered(
            message, status=status, reason=reason, numeric_class=self._numeric_class, now=now
        )
        return events.SendReport(report)
