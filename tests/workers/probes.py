"""A machine in the test's hands."""

from __future__ import annotations

from datetime import UTC, datetime

from workers.permission import Readings

#: A Wednesday, noon.
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


class FakeProbe:
    """Says of the machine what `found` holds; `seconds` is its clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.found: dict[str, object] = {}

    def read(self, *, skew_seconds: float | None, with_programs: bool) -> Readings:
        return Readings(
            **{
                "seconds": self.seconds,
                "local": NOON,
                "skew_seconds": skew_seconds,
                **self.found,
            }
        )
