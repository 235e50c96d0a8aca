"""Assignments taken once and never again: what a replayed message names is known."""

from __future__ import annotations

from datetime import datetime

from workers.assignments import SKEW
from workers.protocol import messages

#: Taken assignments remembered against replay; each is forgotten once it has expired.
TAKEN_MAX = 10_000


class Taken:
    """Remembers each (assignment, nonce) until it is void. Not safe for threads."""

    def __init__(self) -> None:
        self._void_at: dict[tuple[str, str], datetime] = {}

    def __contains__(self, message: messages.Assignment) -> bool:
        return (message.assignment, message.nonce) in self._void_at

    def add(self, message: messages.Assignment, *, now: datetime) -> None:
        """Remember it; when full, what would be void first is forgotten."""
        if len(self._void_at) >= TAKEN_MAX:
            self.forget_expired(now=now)
        while len(self._void_at) >= TAKEN_MAX:
            del self._void_at[min(self._void_at, key=self._void_at.__getitem__)]
        void_at = max(message.expires_at, now) + SKEW
        self._void_at[message.assignment, message.nonce] = void_at

    def forget_expired(self, *, now: datetime) -> None:
        """Let go of what no message could bring back."""
        self._void_at = {key: at for key, at in self._void_at.items() if at >= now}
