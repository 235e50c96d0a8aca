"""What an operator may see of a node's work: its pictures, its answer, and what stood instead.

Note [What evidence may not give away]
    A gold picture must not be known while it is in use. So work is always listed as it was
    shown: the gold picture at its place among the others, all of them named by their number
    (a client's file names are nobody else's business either), with the node's answer to
    each. A failed gold picture is told only once it is retired, when its chunk is settled;
    until then all pictures of that chunk are shown without the right answer. An accepted
    answer is shown only when the chunk's result stands and nobody is still to compute it: two
    owners who help each other could otherwise copy it. Whose answer it was is never said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tasks.models import Chunk, GoldItem, Item, Job, Replica
from tasks.reasons import ChunkReason, ReplicaReason
from tasks.verification import agreement
from workers.protocol import boxes

Found = list[list[float]]

_SAME_BOXES = (
    f"Boxes are the same when their label is, they overlap by {agreement.IOU_MIN:.0%} and "
    f"their scores lie within {agreement.SCORE_DIFFERENCE_MAX}."
)
_SAME_CLASSES = (
    "Two answers are the same when the likeliest label is and all probabilities lie within "
    f"{agreement.PROBABILITY_DIFFERENCE_MAX}."
)
#: What decided that a piece of work is not paid, in an operator's words.
RULES = MappingProxyType(
    {
        ReplicaReason.DISAGREED: "Nodes of other owners agreed with each other, and not with yours.",
        ReplicaReason.WRONG: (
            "Answers differed, so the platform computed the pictures on its own machine. "
            "Your answer is another."
        ),
        ReplicaReason.OVERTURNED: (
            "Your answer was accepted at first. Others computed the pictures again later, "
            "and it did not hold."
        ),
        ReplicaReason.GOLD_FAILED: (
            "One of the pictures was one whose answer the platform had computed before, and "
            "yours to it was another. Which one it was is told once it is used no more."
        ),
        ReplicaReason.INVALID_ANSWER: (
            "The answer breaks the rules for answers: a picture is missing, a label is not "
            "the model's, or a box lies outside."
        ),
    }
)
UNDECIDED = "Nodes did not agree, and the platform could not compute it: no answer was paid."


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture as the node was given it, with what the node answered."""

    position: int
    digest: str
    width: int
    height: int
    answer: Found

    @property
    def name(self) -> str:
        """How the picture is called on pages."""
        return f"Picture {self.position + 1}"


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something found on a picture: {label, score, box}; of a class, the box is the picture."""

    label: str
    score: float
    box: list[float]
    #: The other answer has the same.
    agrees: bool


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A picture with both answers; `accepted` is None where none may be shown."""

    shown: Shown
    own: list[Thing]
    accepted: list[Thing] | None
    is_same: bool | None


def shown(replica: Replica) -> list[Shown]:
    """Return the pictures of an assignment in its order, gold among them.

    Reads `chunk.items` with `image`, and `gold`; prefetch and select them for many.
    """
    items = sorted(replica.chunk.items.all(), key=_position)
    pictures = [(item.image.blob_id, item.image.width, item.image.height) for item in items]
    answers: list[Found] = [list(found) for found in replica.answer or [[] for _ in items]]
    gold = replica.gold
    if gold is not None and replica.gold_position is not None:
        pictures.insert(replica.gold_position, (gold.blob_id, gold.width, gold.height))
        answers.insert(replica.gold_position, list(replica.gold_answer or []))
    return [
        Shown(position=position, digest=digest, width=width, height=height, answer=answer)
        for position, ((digest, width, height), answer) in enumerate(
            zip(pictures, answers, strict=True)
        )
    ]


def rule(replica: Replica) -> str:
    """Say in words what decided against the work; empty when nothing did."""
    if replica.state != Replica.State.REJECTED or replica.reason not in RULES:
        return ""
    if replica.chunk.state == Chunk.State.FAILED and replica.reason == ReplicaReason.DISAGREED:
        return UNDECIDED
    words = RULES[ReplicaReason(replica.reason)]
    if replica.reason == ReplicaReason.INVALID_ANSWER:
        return words
    return f"{words} {_SAME_CLASSES if replica.job.kind == Job.Kind.CLASSIFY else _SAME_BOXES}"


def compare(replica: Replica) -> list[Compared]:
    """Set the node's answer beside the accepted one, picture by picture, differing ones first.

    See Note [What evidence may not give away]. Up to four queries.
    """
    pictures = shown(replica)
    right = _right(replica, len(pictures))
    compared = [
        _compared(replica, each, answer) for each, answer in zip(pictures, right, strict=True)
    ]
    return sorted(compared, key=lambda each: (each.is_same is not False, each.shown.position))


def labelled(replica: Replica, each: Shown) -> list[dict[str, Any]]:
    """Return what the node found on a picture as {label, score, box}."""
    labels = replica.job.model.labels
    whole = [0, 0, each.width, each.height]  # a class is said of the whole picture
    return [
        {"label": labels[str(int(found[0]))], "score": found[1], "box": found[2:] or whole}
        for found in each.answer
    ]


def _position(item: Item) -> int:
    return item.position


def _right(replica: Replica, pictures: int) -> list[Found | None]:
    """Return the accepted answer to each picture shown, None where it stays unsaid."""
    gold, place = replica.gold, replica.gold_position
    # It belongs to this chunk alone: once that is settled, nobody meets it again.
    is_settled = replica.chunk.state not in (Chunk.State.OPEN, Chunk.State.PROVISIONAL)
    is_retired = gold is not None and (is_settled or gold.uses >= GoldItem.USES_MAX)
    if replica.gold_outcome == Replica.Gold.FAILED:
        assert gold is not None
        return [gold.expected if is_retired and n == place else None for n in range(pictures)]
    accepted = _accepted(replica.chunk)
    if accepted is None:
        return [None] * pictures
    answers: list[Found | None] = [*accepted]
    if gold is not None and place is not None:
        answers.insert(place, gold.expected)
    return answers


def _accepted(chunk: Chunk) -> list[Found] | None:
    """Return the answer that stands, if it stands and nobody is still to give one."""
    is_settled = chunk.state == Chunk.State.FINAL or (
        chunk.state == Chunk.State.PROVISIONAL
        and chunk.reason != ChunkReason.RECHECKING
        and chunk.granted >= chunk.wanted
        and not chunk.replicas.filter(state=Replica.State.LEASED).exists()
    )
    if not is_settled:
        return None
    canonical = chunk.replicas.filter(is_canonical=True).first()
    answer = canonical.answer if canonical is not None else chunk.referee_answer
    return [list(found) for found in answer] if answer is not None else None


def _compared(replica: Replica, each: Shown, right: Found | None) -> Compared:
    threshold = replica.job.score_threshold
    kind = replica.job.kind
    if replica.answer is None:
        right = None
    is_same = None
    if right is not None:
        is_same = agreement.same(
            [_tuples(each.answer)], [_tuples(right)], score_threshold=threshold, kind=kind
        )
    return Compared(
        shown=each,
        own=_things(replica, each, each.answer, right),
        accepted=None if right is None else _things(replica, each, right, each.answer),
        is_same=is_same,
    )


def _things(replica: Replica, each: Shown, found: Found, other: Found | None) -> list[Thing]:
    """Name what counts: at or above the job's threshold, likeliest first."""
    labels = replica.job.model.labels
    return [
        Thing(
            label=labels[str(int(one[0]))],
            score=one[1],
            box=one[2:] or [0.0, 0.0, float(each.width), float(each.height)],
            agrees=other is not None and any(_is_same_thing(one, it) for it in other),
        )
        for one in sorted(found, key=lambda one: -one[1])
        if one[1] >= replica.job.score_threshold
    ]


def _is_same_thing(one: Sequence[float], other: Sequence[float]) -> bool:
    if one[0] != other[0]:
        return False
    if len(one) == 2:
        return abs(one[1] - other[1]) <= agreement.PROBABILITY_DIFFERENCE_MAX
    near = abs(one[1] - other[1]) <= agreement.SCORE_DIFFERENCE_MAX
    first, second = (one[2], one[3], one[4], one[5]), (other[2], other[3], other[4], other[5])
    return near and boxes.iou(first, second) >= agreement.IOU_MIN


def _tuples(found: Found) -> list[tuple[float, ...]]:
    return [tuple(each) for each in found]
