"""What is drawn as SVG, as numbers: boxes over a picture, acks on a line. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Width of the ack line in its own units; the style sheet scales it.
LINE_WIDTH = 560
LINE_MARGIN = 12
#: A label's letters are this part of the picture's longer side high.
TEXT_PART = 1 / 42
#: Mean width of a letter over its height, for the font of the pages.
LETTER_PART = 0.62


@dataclass(frozen=True, kw_only=True)
class Box:
    """A detection in pixels, and where its words stand so that nothing cuts them off."""

    label: str
    score: float
    x: float
    y: float
    width: float
    height: float
    text_x: float
    text_y: float


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One ack on the line."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark of the line's scale."""

    x: float
    word: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Acks by the time they took."""

    dots: list[Dot]
    ticks: list[Tick]
    width: int = LINE_WIDTH


def text_size(width: int, height: int) -> float:
    """Return the height of labels on a picture of this size, in its pixels."""
    return round(max(width, height) * TEXT_PART, 1)


def boxes(detections: Iterable[Mapping[str, Any]], *, width: int, height: int) -> list[Box]:
    """Place boxes and their labels on a picture of `width` x `height` pixels."""
    text = text_size(width, height)
    return [_box(found, width=width, text=text) for found in detections]


def timeline(latencies_ms: Sequence[int]) -> Timeline:
    """Place acks on a line that is as long as the slowest, in steps people read.

    Dots that would cover each other are moved up and down by turns.
    """
    end_ms = _round_up(max(latencies_ms, default=0))
    span = LINE_WIDTH - 2 * LINE_MARGIN
    dots = [
        Dot(
            x=round(LINE_MARGIN + latency_ms / end_ms * span, 1),
            y=(18, 11, 25)[number % 3],
            title=f"node {number + 1}: {latency_ms} ms",
        )
        for number, latency_ms in enumerate(latencies_ms)
    ]
    ticks = [
        Tick(x=LINE_MARGIN + span * part / 4, word=_seconds(end_ms * part / 4000))
        for part in range(5)
    ]
    return Timeline(dots=dots, ticks=ticks)


def _box(found: Mapping[str, Any], *, width: int, text: float) -> Box:
    x, y, box_width, box_height = found["box"]
    words = len(f"{found['label']} 0.00") * text * LETTER_PART
    above = y > text * 1.3
    return Box(
        label=found["label"],
        score=found["score"],
        x=x,
        y=y,
        width=box_width,
        height=box_height,
        text_x=round(max(text * 0.2, min(x + text * 0.2, width - words)), 1),
        text_y=round(y - text * 0.35 if above else y + text * 1.1, 1),
    )


def _round_up(latency_ms: int) -> int:
    """Return the next of 100, 200, 400, 1000, 2000, 4000, 10000 ... milliseconds."""
    power = int(10 ** max(2, math.floor(math.log10(max(latency_ms, 1)))))
    return next(power * step for step in (1, 2, 4, 10) if power * step >= latency_ms)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + " s"
