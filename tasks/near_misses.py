"""What an operator is told of answers that were nearly right, in words.

The rule is `verification.terms.is_strike`: such an answer is not paid and takes some of its
node's checks; it is a strike only soon after another. Nothing is said of whoever else had the
chunk, nor which of its pictures it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from tasks.models import Credibility, Replica, Strike
from tasks.verification import terms

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

#: What makes an honest machine's numbers differ.
CHECK: Final = (
    "Worth checking: whether its processor or memory is overclocked or undervolted, whether a "
    "memory test passes, and whether it computes with the ONNX Runtime that it was installed with."
)
_PAID: Final = (Replica.State.ACCEPTED, Replica.State.CANCELLED)


class Known(TypedDict):
    """What is known of a near miss beside its row."""

    #: Accepted answers of the node for the model, as of now.
    answers_now: int


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """One answer that differs from the right one in digits only."""

    replica_id: str
    node_id: str
    model_id: str
    model_name: str
    found_at: datetime
    #: It counts: the node had been nearly right shortly before.
    is_strike: bool
    is_paid: bool
    #: Checks of the node's record that it took.
    checks_lost: float
    #: Answers to be accepted until it makes no later one a strike any more; 0: it does not.
    answers_left: int

    @property
    def happened(self) -> str:
        """What it was, what it cost, what follows and when it is over."""
        return " ".join([self._what(), self._cost(), self._next()])

    @property
    def advice(self) -> str:
        """What to look at on the machine."""
        return CHECK

    @property
    def text(self) -> str:
        """All there is to say of it."""
        return f"{self.happened} {CHECK}"

    @property
    def told(self) -> str:
        """The same where no date stands beside it."""
        return f"{self.found_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {self.text}"

    def _what(self) -> str:
        return (
            f"An answer with {self.model_name} was nearly right: it says the same as the "
            "platform's own, but its numbers differ by more than processors usually do."
        )

    def _cost(self) -> str:
        paid = "It was paid" if self.is_paid else "It was not paid"
        return f"{paid}, and the node lost {self.checks_lost:g} of its checks for this model."

    def _next(self) -> str:
        if self.is_strike:
            return "The node had been nearly right shortly before, so this one counts as a strike."
        if self.answers_left == 0:
            return "It was a warning, and is forgiven."
        more = f"{self.answers_left} more answer{'s'[: self.answers_left != 1]}"
        return (
            f"It is a warning and no strike. Should it happen again before {more} with the model "
            "are accepted, that counts as a strike; after them this one is forgiven."
        )


def standing(node_ids: Sequence[str]) -> dict[str, list[NearMiss]]:
    """Return the warnings of each node that are not forgiven, the newest first.

    A node without one is not there. One query for any number, over strike_by_node.
    """
    rows = _found().filter(node__in=node_ids, is_counted=False)
    found: defaultdict[str, list[NearMiss]] = defaultdict(list)
    for row in rows.filter(answers__gt=F("answers_now") - terms.NEAR_ANSWERS):
        found[row.node_id].append(_near_miss(row, row.answers_now))
    return dict(found)


def of_replicas(replicas: Sequence[Replica]) -> dict[int, NearMiss]:
    """Return what was nearly right of this work, by the replica's id.

    Of replicas with `strike` selected; one query if any of them was nearly right, none else.
    """
    near = [
        replica.pk
        for replica in replicas
        if (strike := getattr(replica, "strike", None)) and strike.cause == Strike.Cause.NEAR
    ]
    if not near:
        return {}
    rows = _found().filter(replica__in=near)
    return {row.replica_id: _near_miss(row, row.answers_now) for row in rows}


def _found() -> QuerySet[WithAnnotations[Strike, Known]]:
    """Return near misses that were carried out and stand, with the node's answers of today."""
    known = Credibility.objects.filter(node=OuterRef("node"), model=OuterRef("model"))
    return (
        Strike.objects.filter(
            cause=Strike.Cause.NEAR, enforced_at__isnull=False, overturned_at=None
        )
        .select_related("model", "replica")
        .annotate(answers_now=Coalesce(Subquery(known.values("answers")), Value(0)))
        .order_by("-pk")
    )


def _near_miss(row: Strike, answers_now: int) -> NearMiss:
    passed = answers_now - row.answers
    return NearMiss(
        replica_id=str(row.replica_id),
        node_id=row.node_id,
        model_id=row.model_id,
        model_name=row.model.name,
        found_at=row.created_at,
        is_strike=row.is_counted,
        is_paid=row.replica.state in _PAID,
        checks_lost=row.lost_tenths / 10,
        answers_left=max(0, terms.NEAR_ANSWERS - passed),
    )
