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
    """A verified message of one assignment or several came."""

    assignments: tuple[messages.Assignment, ...]


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
class SettingsReceived:
    """The node's page asks for something."""

    settings: messages.NodeSettings


@dataclass(frozen=True)
class Receipted:
    """The platform has dealt with reports."""

    receipt: messages.Receipt


@dataclass(frozen=True)
class PermissionChanged:
    """The node may work, or must not for the reason given (`workers.reasons`)."""

    reason: str


@dataclass(frozen=True)
class AllowanceChanged:
    """How much work, and which, the operator allows."""

    slots: int
    #: None: every kind.
    kinds: frozenset[str] | None
    settings_revision: int
    profile: messages.Profile | None
    #: Of clients; None: every one.
    categories: frozenset[str] | None = None


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
    | SettingsReceived
    | Receipted
    | PermissionChanged
    | AllowanceChanged
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
class FetchAhead:
    """Fetch the first inputs of an assignment that has to wait for a slot."""

    assignment: messages.Assignment


@dataclass(frozen=True)
class Start:
    assignment: messages.Assignment


@dataclass(frozen=True)
class Cancel:
    """Stop computing this assignment when it can be done."""

    assignment: str
    #: By the platform; else by ourselves, and a report says so.
    is_withdrawn: bool = True


@dataclass(frozen=True)
class KeepSettings:
    """Store and obey what the page asks for."""

    settings: messages.NodeSettings


@dataclass(frozen=True)
class Forget:
    """The platform has these reports: the stored copies may go."""

    reports: tuple[messages.ReportName, ...]


@dataclass(frozen=True)
class Drop:
    """A message was refused and changes nothing; for the log and the counts."""

    kind: str
    reason: str


Instruction = (
    SendAck
    | SendReport
    | SendHeartbeat
    | Prepare
    | FetchAhead
    | Start
    | Cancel
    | KeepSettings
    | Forget
    | Drop
)
