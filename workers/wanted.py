"""Which work the operator wants, and the codes for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from workers import reasons

#: Reason code for work of a kind that the operator does not want.
KIND_REASON = "kind_not_allowed"
#: Reason code for work for a client whose category the operator leaves out.
CATEGORY_REASON = "category_not_allowed"


@dataclass(frozen=True)
class Wanted:
    """What the limits leave; None limits nothing, an empty set leaves nothing."""

    kinds: frozenset[str] | None = None
    categories: frozenset[str] | None = None

    @property
    def nothing(self) -> str:
        """Why no work at all is wanted, as a code of `workers.reasons`; empty when some is."""
        if self.kinds is not None and not self.kinds:
            return reasons.KINDS_EXCLUDED
        if self.categories is not None and not self.categories:
            return reasons.CATEGORIES_EXCLUDED
        return ""

    def refusal(self, *, kind: str, category: str) -> str:
        """Return why work of this kind for such a client is refused; empty when it is taken."""
        if self.kinds is not None and kind not in self.kinds:
            return KIND_REASON
        if self.categories is not None and category not in self.categories:
            return CATEGORY_REASON
        return ""
