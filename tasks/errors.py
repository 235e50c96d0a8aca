"""The one base of refusals that reach a person: a code, a sentence, a field, a status."""

from __future__ import annotations

from typing import ClassVar


class Refused(Exception):
    """Something asked for is not possible; nothing was changed.

    `status` is the HTTP status that the portal answers with.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 422
    field: ClassVar[str | None] = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class WrongState(Refused):
    """It is that way already, or its state does not allow it."""

    code, status = "wrong_state", 409
