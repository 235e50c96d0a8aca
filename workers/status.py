"""What the running node says of itself in state.json, and what it means to a reader."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from workers import config, reasons, standing
from workers.config import Home
from workers.protocol import limits
from workers.protocol.messages import Standing

STATE_BYTES_MAX = limits.MIB
#: Two idle heartbeats and some: silence beyond that is worth a word.
CONTACT_AGE_MAX = timedelta(seconds=2 * limits.HEARTBEAT_IDLE_SECONDS + 30)
#: A live process writes this often at least, seconds.
WRITE_SECONDS = 10
WRITE_AGE_MAX = timedelta(seconds=6 * WRITE_SECONDS)

#: Beyond what a message's delay explains; the platform hears nobody beyond ten minutes.
CLOCK_SECONDS_MAX = 60

#: Reasons for which the broker lets the node in no more.
_OUT = frozenset({reasons.SUSPENDED, reasons.FLOODING, reasons.RETIRED})

Count = Annotated[int, Field(ge=0)]


class State(BaseModel):
    """The content of state.json."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    node_id: str
    name: str
    software_version: str
    numeric_class: str
    pid: int
    #: Clock ticks since boot at which the process began; tells a reused pid.
    process_started: int
    state: Literal["running", "stopped"]
    #: Why it takes no work, as a code; empty when it does.
    reason: str
    slots: Count
    #: Assignments held, running ones first.
    assignments: list[str]
    cached_models: list[str]
    done: Count
    failed: Count
    handed_back: Count
    withdrawn: Count
    #: Messages refused, by reason.
    refused: dict[str, int]
    #: Reports without the platform's receipt.
    unconfirmed_reports: Count
    #: Pictures a second of one slot; 0 before it was measured.
    images_per_second: float = 0.0
    #: Our clock minus the platform's, seconds.
    skew_seconds: float | None = None
    #: What is wrong with limits.toml.
    limits_trouble: str = ""
    #: When the broker last confirmed a message.
    contact_at: AwareDatetime | None
    trouble: str
    #: How far this clock was ahead of the platform's at its last message; up to half a minute
    #: of it may be the message's own delay.
    clock_skew_seconds: float = 0.0
    written_at: AwareDatetime


class Condition(BaseModel):
    """A state with what is wrong about it, in sentences."""

    is_healthy: bool
    issues: list[str]
    #: Why it takes no work, as a code and in the same word as on its page; empty when it does.
    reason: str
    #: Answers of its that were nearly right, as its page tells them; none is an issue.
    warnings: list[str]
    state: State | None


def write(home: Home, state: State) -> None:
    """Replace state.json."""
    config.write_atomically(home.state_file, state.model_dump_json(indent=2).encode())


class Journal:
    """Keeps state.json up to date for its readers without writing twice a second."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._written: State | None = None
        self._due = 0.0

    def note(self, state: State) -> None:
        """Write the state when it changed, and often enough to show that we live."""
        is_same = self._written is not None and state == self._written.model_copy(
            update={
                "written_at": state.written_at,
                "contact_at": state.contact_at,
                "clock_skew_seconds": state.clock_skew_seconds,
            }
        )
        if is_same and time.monotonic() < self._due:
            return
        write(self._home, state)
        self._written = state
        self._due = time.monotonic() + WRITE_SECONDS


def read(home: Home) -> State | None:
    """Return the last state written; None when there is none that can be read."""
    try:
        with home.state_file.open("rb") as file:
            return State.model_validate_json(file.read(STATE_BYTES_MAX))
    except (OSError, ValidationError):
        return None


def judge(
    state: State | None, *, is_alive: bool, now: datetime, told: Standing | None = None
) -> Condition:
    """Say what is wrong, if anything. A pause is the operator's wish and no issue.

    `told`: what the node's page says; None when the portal was not reached.
    """
    reason = standing.word(state.reason if state else "", told)
    if state is None:
        issues = ["The node has not run yet: start it with `nodefolk-node run`."]
    elif state.state == "stopped":
        issues = ["The node is stopped: start it with `nodefolk-node run`."]
    elif not is_alive:
        issues = ["The node ended unexpectedly: start it with `nodefolk-node run`."]
    else:
        issues = _issues_running(state, reason, now)
    return Condition(
        is_healthy=not issues,
        issues=issues,
        reason=reason,
        warnings=list(told.warnings) if told else [],
        state=state,
    )


def process_started(pid: int) -> int:
    """Return the clock ticks since boot at which the process began; 0 when unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # Field 22; the name in field 2 may hold spaces and brackets, so count behind it.
    return int(text.rpartition(")")[2].split()[19])


def is_alive(state: State | None) -> bool:
    """Say whether the process that wrote `state` still runs."""
    if state is None:
        return False
    try:
        os.kill(state.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process: the start time decides
    return process_started(state.pid) == state.process_started


def _issues_running(state: State, reason: str, now: datetime) -> list[str]:
    issues = []
    if now - state.written_at > WRITE_AGE_MAX:
        issues.append("The node hangs: stop it and start it again.")
    if state.contact_at is None:
        issues.append("The platform has not been reached yet: check the network.")
    elif now - state.contact_at > CONTACT_AGE_MAX:
        issues.append(f"No contact since {state.contact_at:%Y-%m-%d %H:%M} UTC.")
    if reason in _OUT:
        issues.append(f"{reasons.text(reason)} Its queue cannot be read.")
    elif state.reason == reasons.OFFLINE:
        issues.append("The node's queue cannot be read: it may be retired or suspended.")
    if state.reason == reasons.CLOCK_SKEW and state.skew_seconds is not None:
        issues.append(f"The clock is {state.skew_seconds:+.0f} s off: set it, best by NTP.")
    elif abs(state.clock_skew_seconds) > CLOCK_SECONDS_MAX:
        side = "fast" if state.clock_skew_seconds > 0 else "slow"
        issues.append(f"The clock is about {abs(state.clock_skew_seconds):.0f} s {side}: set it.")
    if state.limits_trouble:
        issues.append(state.limits_trouble)
    if state.trouble:
        issues.append(f"The broker refuses or is away: {state.trouble}")
    return issues
