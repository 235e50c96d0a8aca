"""Is what a node answered an answer to what it was asked? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.protocol import boxes, limits, messages

#: A box may reach this far over the picture's edge, pixels: rounding, no more.
EDGE_SLACK = 1.0
#: Probabilities of 8-bit models sum to about 1.
SUM_SLACK = 0.06

#: By position: what was found on each picture, as numbers.
Found = list[list[list[float]]]


class InvalidAnswer(Exception):
    """The answer breaks the rules: positions, sizes, labels or boxes."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a node was asked, as far as its answer must fit it."""

    model_digest: str
    kind: str
    class_ids: frozenset[int]
    #: Width and height of each picture shown, pixels, by position; gold is among them.
    sizes: Sequence[tuple[int, int]]


def check(report: messages.Report, question: Question) -> Found:
    """Return the answers by position after checking them against the question.

    Raises:
        InvalidAnswer: a position is missing, doubled or unknown; a size differs from the
            picture's; a class is not the model's; a box lies outside; likelihoods are out
            of order; or it answers another kind of question.
    """
    if report.model_digest != question.model_digest:
        raise InvalidAnswer("another model")
    in_order = sorted(report.answers, key=lambda answer: answer.position)
    if [answer.position for answer in in_order] != list(range(len(question.sizes))):
        raise InvalidAnswer("positions differ from the assignment's")
    if [(answer.width, answer.height) for answer in in_order] != list(question.sizes):
        raise InvalidAnswer("the picture's size differs")
    read = _classes if question.kind == "classify" else _detections
    return [read(answer, question.class_ids) for answer in in_order]


def _detections(answer: messages.Answer, class_ids: frozenset[int]) -> list[list[float]]:
    if answer.classes:
        raise InvalidAnswer("classes where boxes are asked for")
    for detection in answer.detections:
        if detection[0] not in class_ids:
            raise InvalidAnswer("unknown class")
        if not boxes.is_inside(
            detection[2:], width=answer.width, height=answer.height, slack=EDGE_SLACK
        ):
            raise InvalidAnswer("a box outside the picture")
    return [list(found) for found in answer.detections]


def _classes(answer: messages.Answer, class_ids: frozenset[int]) -> list[list[float]]:
    if answer.detections:
        raise InvalidAnswer("boxes where classes are asked for")
    found = answer.classes
    numbers = [number for number, _ in found]
    if len(found) != min(limits.CLASSES_MAX, len(class_ids)):
        raise InvalidAnswer("too few classes")
    if len(set(numbers)) < len(numbers) or not class_ids.issuperset(numbers):
        raise InvalidAnswer("unknown class")
    scores = [score for _, score in found]
    if scores != sorted(scores, reverse=True) or sum(scores) > 1 + SUM_SLACK:
        raise InvalidAnswer("no likelihoods, highest first")
    return [list(each) for each in found]
