"""What can happen to a node (events) and what it does about it (instructions)."""

from __future__ import annotations

from dataclasses import dataclass

from workers.protocol import messages


@dataclass(frozen=True)
class Announced:
    """A verified announcement came."""

    announcement: messages.Announcement


@dataclass(frozen=True)
class Assigned:
    """A verified assignment came."""

    assignment: messages.Assignment


@dataclass(frozen=True)
class Withdrawn:
    """A verified withdrawal came."""

    withdrawal: messages.Withdrawal


@dataclass(frozen=True)
class Finished:
    """A running assignment ended; without a report when it was cancelled."""

    assignment: str
    report: messages.Report | None


@dataclass(frozen=True)
class PauseChanged:
    """The operator paused or resumed."""

    is_paused: bool


@dataclass(frozen=True)
class ModelsChanged:
    """The cache changed, or the node began or ended getting ready."""

    cached: tuple[str, ...]
    is_downloading: bool


@dataclass(frozen=True)
class ListeningChanged:
    """The node's queue is being read, or is not any more."""

    is_listening: bool


@dataclass(frozen=True)
class Stopping:
    """The program ends: nothing new, what runs may finish."""


@dataclass(frozen=True)
class Ticked:
    """Time passed."""


Event = (
    Announced
    | Assigned
    | Withdrawn
    | Finished
    | PauseChanged
    | ModelsChanged
    | ListeningChanged
    | Stopping
    | Ticked
)


@dataclass(frozen=True)
class SendAck:
    message: messages.AckMessage


@dataclass(frozen=True)
class SendReport:
    message: messages.Report


@dataclass(frozen=True)
class SendHeartbeat:
    message: messages.Heartbeat


@dataclass(frozen=True)
class Prepare:
    """Open the session of a cached model before its first assignment comes."""

    model_digest: str


@dataclass(frozen=True)
class Start:
    assignment: messages.Assignment


@dataclass(frozen=True)
class Cancel:
    """Stop computing this assignment when it can be done."""

    assignment: str


@dataclass(frozen=True)
class Drop:
    """A message was refused and changes nothing; for the log and the counts."""

    kind: str
    reason: str


Instruction = SendAck | SendReport | SendHeartbeat | Prepare | Start | Cancel | Drop
