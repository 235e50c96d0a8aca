"""When two answers say the same, and which answer stands for a group. Pure.

Matching, never hashing: two processors differ in the last digits. Per class, boxes match
one to one with IoU >= 0.99 and scores within 0.005; near the score threshold one node may
see a detection that another does not (dead band). Bounds: facts measured for this
detector (fp32 against fp16-stored weights: IoU >= 0.996, score within 0.003).

Classes agree by the likeliest one, with a margin: all probabilities lie within 0.02, and
the likeliest is the same or, on both sides, hardly likelier than the next.

What differs within `LOOSE` bounds is wrong all the same, but more likely another processor's
digits than a lie (docs/decisions/0019).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.protocol import boxes

#: (class id, score, x, y, width, height); a picture's answer is a list of them.
Detection = tuple[int, float, float, float, float, float]
#: (class id, probability), likeliest first; a picture's answer in a `classify` job.
Classified = tuple[int, float]
#: One list of detections, or of classes, for each position of the chunk.
Answer = Sequence[Sequence[Detection]] | Sequence[Sequence[Classified]]

IOU_MIN = 0.99
SCORE_DIFFERENCE_MAX = 0.005
#: Half-width of the band around the score threshold in which a detection may be missing.
DEAD_BAND = 0.02
#: Boxes of one class in one picture that may lie almost upon a given one. A detector drops all
#: but one of them; an answer that crowds more together is made up, and agrees only with an
#: equal one, so that comparing stays cheap whatever nodes send.
NEAR_MAX = 4
#: How near to the score threshold everyone must report for the dead band to be judged.
SCORE_MARGIN = 0.05
#: How far two probabilities of one class may differ: 8-bit models computed in other orders.
PROBABILITY_DIFFERENCE_MAX = 0.02
#: How far the likeliest class must lead to be the only right one.
MARGIN_MIN = 0.02


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far two answers may differ and still say the same; see the constants."""

    iou_min: float = IOU_MIN
    score_difference_max: float = SCORE_DIFFERENCE_MAX
    dead_band: float = DEAD_BAND
    probability_difference_max: float = PROBABILITY_DIFFERENCE_MAX
    margin_min: float = MARGIN_MIN

    @property
    def rest(self) -> float:
        """What two boxes may differ by, as a share of the larger, with room for rounding."""
        return 1 - self.iou_min + 1e-9


STRICT: Final = Tolerance()
#: Other arithmetic, hardly other content: ten times the differences measured between
#: processors, and yet an object moved by a tenth of its size is outside.
LOOSE: Final = Tolerance(
    iou_min=0.9,
    score_difference_max=0.05,
    dead_band=0.05,
    probability_difference_max=0.1,
    margin_min=0.1,
)


def score_floor(score_threshold: float) -> float:
    """Return the score from which answers must name detections."""
    return max(0.0, score_threshold - SCORE_MARGIN)


def agree(
    first: Sequence[Sequence[Detection]],
    second: Sequence[Sequence[Detection]],
    *,
    score_threshold: float,
    tolerance: Tolerance = STRICT,
) -> bool:
    """Say whether two answers of boxes to one chunk are the same. Symmetric, reflexive."""
    must_match = score_threshold + tolerance.dead_band
    return len(first) == len(second) and all(
        _pictures_agree(one, other, tolerance, must_match=must_match)
        for one, other in zip(first, second, strict=True)
    )


def classes_agree(
    first: Sequence[Sequence[Classified]],
    second: Sequence[Sequence[Classified]],
    *,
    tolerance: Tolerance = STRICT,
) -> bool:
    """Say whether two answers of classes to one chunk are the same. Symmetric, reflexive."""
    return len(first) == len(second) and all(
        _likelihoods_agree(one, other, tolerance) for one, other in zip(first, second, strict=True)
    )


def groups(
    answers: Sequence[Answer],
    *,
    score_threshold: float,
    kind: str = "detect",
    compare: Callable[[Answer, Answer], bool] | None = None,
) -> list[list[int]]:
    """Split answers into disjoint groups that agree with their medoid, largest first.

    The first index of each group is its medoid. Agreement is not transitive, so the member
    with the most agreeing neighbours takes them, then the next of those left; ties go by the
    answers' own text: the order of arrival decides nothing but between equal answers.
    `compare` replaces the rule of `kind`; it must be symmetric.
    """
    near: list[set[int]] = [{index} for index in range(len(answers))]
    for one, other in itertools.combinations(range(len(answers)), 2):
        first, second = answers[one], answers[other]
        if (
            compare(first, second)
            if compare
            else same(first, second, score_threshold=score_threshold, kind=kind)
        ):
            near[one].add(other)
            near[other].add(one)
    left = set(range(len(answers)))
    found: list[list[int]] = []
    while left:
        medoid = _medoid(answers, near, left)
        members = near[medoid] & left
        found.append([medoid, *sorted(members - {medoid})])
        left -= members
    return found


def _medoid(answers: Sequence[Answer], near: Sequence[set[int]], left: set[int]) -> int:
    most = max(len(near[index] & left) for index in left)
    tied = [index for index in sorted(left) if len(near[index] & left) == most]
    return min(tied, key=lambda index: repr(answers[index])) if len(tied) > 1 else tied[0]


def same(
    first: Any,
    second: Any,
    *,
    score_threshold: float,
    kind: str,
    tolerance: Tolerance = STRICT,
) -> bool:
    """Say whether two answers to one chunk are the same, by the rule of its kind."""
    if kind == "classify":
        return classes_agree(first, second, tolerance=tolerance)
    return agree(first, second, score_threshold=score_threshold, tolerance=tolerance)


def _likelihoods_agree(
    first: Sequence[Classified], second: Sequence[Classified], tolerance: Tolerance
) -> bool:
    if not first or not second:
        return not first and not second
    most = tolerance.probability_difference_max
    if not (_all_near(first, second, most) and _all_near(second, first, most)):
        return False
    margin = max(_margin(first), _margin(second))
    return first[0][0] == second[0][0] or margin < tolerance.margin_min


def _all_near(first: Sequence[Classified], second: Sequence[Classified], most: float) -> bool:
    """Compare each class of `first`; one that `second` does not name is below all it names."""
    others = dict(second)
    rest = min(others.values())
    return all(
        abs(likelihood - others[number]) <= most if number in others else likelihood - rest <= most
        for number, likelihood in first
    )


def _margin(likelihoods: Sequence[Classified]) -> float:
    return likelihoods[0][1] - (likelihoods[1][1] if len(likelihoods) > 1 else 0.0)


def _pictures_agree(
    first: Sequence[Detection],
    second: Sequence[Detection],
    tolerance: Tolerance,
    *,
    must_match: float,
) -> bool:
    if sorted(first) == sorted(second):
        return True
    ours, theirs = _by_class(first), _by_class(second)
    return all(
        _class_agrees(ours.get(label, []), theirs.get(label, []), tolerance, must_match=must_match)
        for label in ours.keys() | theirs.keys()
    )


def _class_agrees(
    first: Sequence[Detection],
    second: Sequence[Detection],
    tolerance: Tolerance,
    *,
    must_match: float,
) -> bool:
    """Say whether the boxes pair off so that every one above `must_match` has a partner.

    If one pairing serves all the strong boxes of `first` and another all those of `second`,
    a single one serves both (Mendelsohn and Dulmage 1958), so each side is asked by itself.
    """
    near = [
        [
            other
            for other, candidate in enumerate(second)
            if _is_near(detection, candidate, tolerance)
        ]
        for detection in first
    ]
    if _is_crowded(near, len(second)):
        return False
    partners: list[list[int]] = [[] for _ in first]
    reverse: list[list[int]] = [[] for _ in second]
    for index, others in enumerate(near):
        for other in others:
            if _is_same(first[index], second[other], tolerance):
                partners[index].append(other)
                reverse[other].append(index)
    return _all_paired(_strong(first, must_match), partners) and _all_paired(
        _strong(second, must_match), reverse
    )


def _is_near(first: Detection, second: Detection, tolerance: Tolerance) -> bool:
    """Say whether two boxes of one class may be the same: cheap, and never wrongly no.

    Two boxes share at least `iou_min` of the wider one's width, and of the higher one's
    height; so neither edge is further from its like than the rest.
    """
    rest = tolerance.rest
    width, height = max(first[4], second[4]) * rest, max(first[5], second[5]) * rest
    return (
        abs(first[1] - second[1]) <= tolerance.score_difference_max
        and abs(first[2] - second[2]) <= width
        and abs(first[4] - second[4]) <= width
        and abs(first[3] - second[3]) <= height
        and abs(first[5] - second[5]) <= height
    )


def _is_crowded(near: Sequence[Sequence[int]], others: int) -> bool:
    """Say whether a box, on either side, has more near it than a detector leaves."""
    counts = [0] * others
    for row in near:
        if len(row) > NEAR_MAX:
            return True
        for other in row:
            counts[other] += 1
    return max(counts, default=0) > NEAR_MAX


def _all_paired(indices: Sequence[int], partners: Sequence[Sequence[int]]) -> bool:
    """Say whether each of `indices` can have a partner of its own.

    Each pass looks at each partner once (Kuhn 1955, in phases as Hopcroft and Karp 1973);
    the first pass that pairs nobody proves that no pairing exists.
    """
    if not all(partners[index] for index in indices):
        return False
    taken: dict[int, int] = {}
    left = list(indices)
    while left:
        seen: set[int] = set()
        rest = [index for index in left if not _augment(index, partners, taken, seen)]
        if len(rest) == len(left):
            return False
        left = rest
    return True


def _augment(
    index: int, partners: Sequence[Sequence[int]], taken: dict[int, int], seen: set[int]
) -> bool:
    """Find a partner for `index`, moving earlier pairs if needed.

    Greedy pairing would depend on the order of two overlapping boxes; this does not.
    """
    for other in partners[index]:
        if other in seen:
            continue
        seen.add(other)
        if other not in taken or _augment(taken[other], partners, taken, seen):
            taken[other] = index
            return True
    return False


def _is_same(first: Detection, second: Detection, tolerance: Tolerance) -> bool:
    """Compare two boxes of one class; equal ones are the same even without an area."""
    return abs(first[1] - second[1]) <= tolerance.score_difference_max and (
        first[2:] == second[2:] or boxes.iou(first[2:], second[2:]) >= tolerance.iou_min
    )


def _strong(detections: Sequence[Detection], must_match: float) -> list[int]:
    return [index for index, found in enumerate(detections) if found[1] >= must_match]


def _by_class(detections: Sequence[Detection]) -> dict[int, list[Detection]]:
    classes: dict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        classes[detection[0]].append(detection)
    return classes
